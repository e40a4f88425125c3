//! One redis-server process, whatever its part.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use redis::{Cmd, FromRedisValue};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::eventually;

/// The port of servers that are no Sentinels.
pub const PORT: u16 = 6379;

#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    own: TempDir,
    program: PathBuf,
    flags: Vec<OsString>,
    child: Child,
}

impl Server {
    /// Starts it with these lines of configuration and waits until it answers.
    pub fn start(settings: &[(String, String)], port: u16, flags: &[&str]) -> Server {
        Server::of(Path::new("redis-server"), settings, port, flags)
    }

    /// The same with another program.
    pub fn of(program: &Path, settings: &[(String, String)], port: u16, flags: &[&str]) -> Server {
        let own = tempfile::Builder::new().prefix("weir-redis-").tempdir().expect("a directory for redis");
        let address = SocketAddr::from((super::own_address(), port));
        let path = own.path().display();
        let ip = address.ip();
        let mut lines = vec![
            format!("bind {ip}"),
            format!("port {port}"),
            format!("dir {path}"),
            format!("logfile {path}/redis.log"),
            "daemonize no".to_owned(),
            "protected-mode no".to_owned(),
        ];
        if flags.contains(&"--sentinel") {
            lines.push(format!("sentinel announce-ip {ip}"));
        } else {
            lines.extend([format!("replica-announce-ip {ip}"), format!("bind-source-addr {ip}")]);
        }
        lines.extend(settings.iter().map(|(name, value)| format!("{name} {value}")));
        std::fs::write(own.path().join("redis.conf"), lines.join("\n") + "\n")
            .expect("redis.conf is written");
        let flags: Vec<OsString> = flags.iter().map(OsString::from).collect();
        let program = program.to_owned();
        let child = spawn(&program, &own, &flags);
        let mut server = Server { address, own, program, flags, child };
        server.wait_until_ready();
        server
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn directory(&self) -> PathBuf {
        self.own.path().to_owned()
    }

    pub fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = Cmd::new();
        words.iter().for_each(|word| {
            command.arg(word);
        });
        self.try_ask(&command).unwrap_or_else(|error| panic!("{words:?} at {}: {error}", self.address))
    }

    pub fn try_ask<T: FromRedisValue>(&self, command: &Cmd) -> redis::RedisResult<T> {
        let client = redis::Client::open(format!("redis://{}", self.address))?;
        let mut connection = client.get_connection_with_timeout(crate::PATIENCE)?;
        connection.set_read_timeout(Some(crate::PATIENCE))?;
        command.query(&mut connection)
    }

    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("the server is there to be signalled");
    }

    pub fn kill9(&mut self) {
        let _ = self.child.kill();
        self.child.wait().expect("a child can be waited for");
    }

    pub fn stop(&mut self) {
        self.signal(Signal::TERM);
        let child = &mut self.child;
        eventually("the end of redis-server", || child.try_wait().expect("a child can be waited for"));
    }

    pub fn restart(&mut self) {
        self.restart_without_waiting();
        self.wait_until_ready();
    }

    pub fn restart_without_waiting(&mut self) {
        self.kill9();
        self.child = spawn(&self.program, &self.own, &self.flags);
    }

    fn wait_until_ready(&mut self) {
        eventually("redis-server to answer", || {
            if let Ok(Some(status)) = self.child.try_wait() {
                let log = std::fs::read_to_string(self.own.path().join("redis.log")).unwrap_or_default();
                panic!("redis-server ended with {status}; it said:\n{log}");
            }
            self.try_ask::<String>(&redis::cmd("PING")).ok().map(|_| ())
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &Path, own: &TempDir, flags: &[OsString]) -> Child {
    let mut command = Command::new(program);
    command.arg(own.path().join("redis.conf")).args(flags);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let child = command.spawn();
    child.unwrap_or_else(|error| panic!("{}: {error} (`cargo xtask tools` brings it)", program.display()))
}
