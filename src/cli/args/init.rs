//! What can be typed behind `openwatch init`.

use std::path::PathBuf;

use clap::Args;

/// `openwatch init`.
#[derive(Debug, Args)]
pub struct Init {
    /// Unit of the application; several are stopped in the order in which they are named
    #[arg(long = "service", value_name = "UNIT", required = true)]
    pub services: Vec<String>,
    /// Variable that holds the connection string, in /etc/NAME/secrets.env
    #[arg(long, value_name = "VARIABLE")]
    pub database_env: String,
    /// Where the package will have its migrations, instead of /usr/share/NAME/migrations
    #[arg(long, value_name = "DIR")]
    pub migrations: Option<String>,
    /// How they are named and recorded, as in `migrations` of upgrade.conf(5)
    #[arg(long, value_name = "FORMAT", default_value = "plain")]
    pub format: String,
    /// Address that answers 200 once the application is up
    #[arg(long, value_name = "URL")]
    pub health: Option<String>,
    /// Directory to make and to write to
    pub dir: PathBuf,
}
