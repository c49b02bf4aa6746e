//! `org.varlink.service`: what a varlink peer may ask about us.

use serde::{Deserialize, Serialize};

/// Name of the interface.
pub const INTERFACE: &str = "org.varlink.service";
/// Name of the method that tells what is there.
pub const GET_INFO: &str = "org.varlink.service.GetInfo";
/// Name of the method that tells what an interface has.
pub const GET_DESCRIPTION: &str = "org.varlink.service.GetInterfaceDescription";

/// The interface file, as varlink.org has it.
pub const TEXT: &str = "\
# The Varlink Service Interface is provided by every varlink service.
interface org.varlink.service

method GetInfo() -> (
  vendor: string,
  product: string,
  version: string,
  url: string,
  interfaces: []string
)

method GetInterfaceDescription(interface: string) -> (description: string)

error InterfaceNotFound (interface: string)
error MethodNotFound (method: string)
error MethodNotImplemented (method: string)
error InvalidParameter (parameter: string)
";

/// Answer to `GetInfo`.
///
/// ```
/// use libipc::interface::introspection::{INTERFACE, Info};
///
/// let text = r#"{"vendor":"ipcd","product":"ipcd","version":"0.1.0","url":"",
///     "interfaces":["org.varlink.service","org.ipcd.Broker"]}"#;
/// let info: Info = serde_json::from_str(text)?;
/// assert!(info.interfaces.iter().any(|name| name == INTERFACE));
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Info {
    /// Who made it.
    pub vendor: String,
    /// What it is.
    pub product: String,
    /// Which version.
    pub version: String,
    /// Where to read about it.
    pub url: String,
    /// What it has.
    pub interfaces: Vec<String>,
}

/// Parameters of `GetInterfaceDescription`.
///
/// ```
/// use libipc::interface::introspection::GetDescription;
///
/// let question = GetDescription { interface: "org.ipcd.Broker".to_owned() };
/// assert_eq!(serde_json::to_string(&question)?, r#"{"interface":"org.ipcd.Broker"}"#);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct GetDescription {
    /// Which interface.
    pub interface: String,
}

/// Answer to `GetInterfaceDescription`.
///
/// ```
/// use libipc::interface::broker;
/// use libipc::interface::introspection::Description;
///
/// let answer = Description { description: broker::TEXT.to_owned() };
/// assert!(answer.description.lines().any(|line| line == "interface org.ipcd.Broker"));
/// ```
#[derive(Clone, Debug, Deserialize, Serialize)]
pub struct Description {
    /// Its file.
    pub description: String,
}
