//! Questions that prove the new version serves.
