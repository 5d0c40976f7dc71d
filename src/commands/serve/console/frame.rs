//! What every page has around its content.

use maud::{DOCTYPE, Markup, html};

use super::super::Service;
use super::super::host;

/// The pages, in the order of the navigation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Page {
    Host,
    Points,
    Next,
    History,
    Hosts,
    Act,
}

impl Page {
    const ALL: [Self; 6] =
        [Self::Host, Self::Points, Self::Next, Self::History, Self::Hosts, Self::Act];

    const fn path(self) -> &'static str {
        match self {
            Self::Host => "/",
            Self::Points => "/restore-points",
            Self::Next => "/next",
            Self::History => "/history",
            Self::Hosts => "/hosts",
            Self::Act => "/act",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Host => "This host",
            Self::Points => "Restore points",
            Self::Next => "Next upgrade",
            Self::History => "History",
            Self::Hosts => "Hosts",
            Self::Act => "Act",
        }
    }
}

/// The frame of one page.
pub(super) struct Frame<'s> {
    pub(super) service: &'s Service,
    /// The page; none where there is no such page.
    pub(super) page: Option<Page>,
    pub(super) title: &'s str,
}

impl Frame<'_> {
    /// Returns the whole document.
    pub(super) fn around(&self, content: &Markup) -> Markup {
        let host = host::read(&self.service.layout).name;
        let app = self.service.layout.app();
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    title { (self.title) " · " (app) " on " (host) }
                    link rel="stylesheet" href="/console/style.css";
                    link rel="icon" href="/console/icon.svg" type="image/svg+xml";
                    script src="/console/live.js" defer {}
                }
                body {
                    a.skip href="#main" { "Skip to the content" }
                    header {
                        p.brand { strong { (app) } " on " span.host { (host) } }
                        nav aria-label="Pages" {
                            ul {
                                @for page in Page::ALL {
                                    li { (link(page, self.page == Some(page))) }
                                }
                            }
                        }
                    }
                    main id="main" tabindex="-1" { (content) }
                    footer {
                        p { "openwatch " (self.service.version) ". Without the token these pages only show." }
                        p id="live" role="status" hidden {}
                    }
                }
            }
        }
    }
}

fn link(page: Page, current: bool) -> Markup {
    html! {
        @if current {
            a href=(page.path()) aria-current="page" { (page.title()) }
        } @else {
            a href=(page.path()) { (page.title()) }
        }
    }
}
