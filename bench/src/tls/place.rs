//! The directory of a run: certificates, sockets, configurations.

use std::error::Error;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// A directory that goes with the run.
pub(crate) struct Place(tempfile::TempDir);

impl Place {
    /// With an authority and a certificate for this host, made by openssl.
    pub(crate) fn new() -> Result<Self, Box<dyn Error>> {
        let place = Self(tempfile::tempdir()?);
        std::fs::set_permissions(place.0.path(), std::fs::Permissions::from_mode(0o755))?;
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        place.openssl(
            &["req", "-x509", "-subj", "/CN=bench", "-keyout", "ca.key", "-out", "ca.crt"],
            &key,
        )?;
        std::fs::write(
            place.file("ext"),
            "subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=serverAuth\n",
        )?;
        place.openssl(
            &["req", "-subj", "/CN=host", "-keyout", "host.key", "-out", "host.csr"],
            &key,
        )?;
        let issue = ["x509", "-req", "-in", "host.csr", "-CA", "ca.crt", "-CAkey", "ca.key"];
        place.openssl(&issue, &["-CAcreateserial", "-extfile", "ext", "-out", "host.crt"])?;
        let pem = [place.read("host.crt")?, place.read("host.key")?].concat();
        std::fs::write(place.file("host.pem"), pem)?;
        for secret in ["host.key", "host.pem"] {
            let mode = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(place.file(secret), mode)?;
        }
        Ok(place)
    }

    /// The socket of the service that everything leads to.
    pub(crate) fn service(&self) -> PathBuf {
        self.file("service.sock")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Result<String, Box<dyn Error>> {
        Ok(std::fs::read_to_string(self.file(name))?)
    }

    fn openssl(&self, first: &[&str], more: &[&str]) -> Result<(), Box<dyn Error>> {
        let mut command = Command::new("openssl");
        command.args(first).args(more).current_dir(self.0.path());
        if command.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
            return Ok(());
        }
        Err(format!("openssl {} fails", first.join(" ")).into())
    }
}
