//! What dpkg and rpm say to their scripts, and what it means.
