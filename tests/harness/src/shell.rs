//! Commands of a document, typed as its readers type them.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::error::{Error, Result};
use crate::tools;

/// A bash that knows the tools, the programs of the machine, and nothing of the person who runs the tests.
#[derive(Clone, Debug)]
pub struct Shell {
    kubeconfig: PathBuf,
    folder: PathBuf,
    home: Option<PathBuf>,
    programs: Vec<PathBuf>,
    variables: Vec<(String, OsString)>,
}

/// What came of commands.
#[derive(Clone, Debug)]
pub struct Typed {
    /// What bash ended with; 124 where it took too long.
    pub code: Option<i32>,
    /// What went to standard output.
    pub stdout: String,
    /// What went to standard error.
    pub stderr: String,
}

impl Typed {
    /// Whether all of it succeeded.
    #[must_use]
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// All that was printed.
    #[must_use]
    pub fn printed(&self) -> String {
        format!("{}{}", self.stdout, self.stderr)
    }
}

impl Shell {
    /// As the user of this kubeconfig, at the top of the repository.
    pub fn new(kubeconfig: impl Into<PathBuf>) -> Self {
        Self {
            kubeconfig: kubeconfig.into(),
            folder: tools::workspace(),
            home: None,
            programs: Vec::new(),
            variables: Vec::new(),
        }
    }

    /// Changes the folder in which commands are typed.
    #[must_use]
    pub fn within(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: folder.into(), ..self }
    }

    /// Changes the home folder, which is that of the kubeconfig otherwise.
    #[must_use]
    pub fn home(self, folder: impl Into<PathBuf>) -> Self {
        Self { home: Some(folder.into()), ..self }
    }

    /// Adds a folder of programs, which go before all others.
    #[must_use]
    pub fn programs(mut self, folder: impl Into<PathBuf>) -> Self {
        self.programs.push(folder.into());
        self
    }

    /// Sets a variable.
    #[must_use]
    pub fn variable(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.variables.push((name.to_owned(), value.into()));
        self
    }

    /// Types commands, which may take two minutes, and says what came of them.
    ///
    /// # Errors
    /// When there is no bash.
    pub async fn try_type(&self, commands: &str) -> Result<Typed> {
        let mut path = self.programs.clone();
        path.extend([tools::folder(), tools::built(), "/usr/bin".into(), "/bin".into()]);
        let path = std::env::join_paths(path).map_err(|error| Error::new(error.to_string()))?;
        let beside = self.kubeconfig.parent().map(PathBuf::from).unwrap_or_default();
        // It ends what bash has started too.
        let output = Command::new("timeout")
            .args(["--kill-after=5", "120", "bash", "-euo", "pipefail", "-c", commands])
            .current_dir(&self.folder)
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.home.as_ref().unwrap_or(&beside))
            .env("LC_ALL", "C.UTF-8")
            .env("KUBECONFIG", &self.kubeconfig)
            .env("KUBERC", "off")
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok(Typed { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }

    /// Types commands that are to succeed, and returns all that they printed.
    ///
    /// # Errors
    /// When one of them fails; what was printed is in the message.
    pub async fn type_in(&self, commands: &str) -> Result<String> {
        let typed = self.try_type(commands).await?;
        let printed = typed.printed();
        if typed.succeeded() {
            return Ok(printed);
        }
        Err(Error::new(format!("{commands}\nended with {:?}:\n{printed}", typed.code)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_command_that_fails_ends_it_and_nothing_is_inherited() {
        let shell = Shell::new("/nowhere/kubeconfig").variable("A", "a");
        let printed = shell.type_in(r#"echo "$A $HOME $PWD ${CARGO_MANIFEST_DIR-none}""#).await;
        let expected = format!("a /nowhere {} none\n", tools::workspace().display());
        assert_eq!(printed.map_err(|error| error.to_string()), Ok(expected));
        for commands in ["echo before; false | cat; echo after", "echo before; echo $UNSET; echo after"] {
            let error = shell.type_in(commands).await.err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains("\nbefore\n") && !error.contains("\nafter\n"), "{error}");
        }
    }
}
