//! An OpenTelemetry Collector that takes traces, scrapes metrics, and writes both to files.

use std::path::PathBuf;
use std::process::Command;

use qres_tests::wait;
use tempfile::TempDir;

use crate::file::OtlpFile;
use crate::program::{self, Program, free_port};

/// A collector. It can be killed and started again; it goes on with its files.
pub struct Collector {
    program: PathBuf,
    dir: TempDir,
    port: u16,
    running: Option<Program>,
}

impl Collector {
    /// Starts a collector; `None` if it is not built.
    pub async fn start() -> Option<Self> {
        let mut collector = Self {
            program: program::collector()?,
            dir: tempfile::tempdir().unwrap(),
            port: free_port(),
            running: None,
        };
        collector.scrape(&[]);
        collector.run().await;
        Some(collector)
    }

    /// Starts the program and waits until it takes traces.
    pub async fn run(&mut self) {
        let config = self.dir.path().join("config.yaml");
        std::fs::write(&config, self.config()).unwrap();
        let mut command = Command::new(&self.program);
        command.arg("--config").arg(format!("file:{}", config.display()));
        self.running = Some(Program::start(&mut command, &self.dir.path().join("log")));
        let address = format!("127.0.0.1:{}", self.port);
        wait::until("the collector to listen", || async {
            tokio::net::TcpStream::connect(&address).await.ok()
        })
        .await;
    }

    /// Kills the program.
    pub fn kill(&mut self) {
        self.running.take().expect("it runs").kill();
    }

    /// Makes the collector scrape these admin ports.
    pub fn scrape(&self, targets: &[String]) {
        let groups = serde_json::json!([{ "targets": targets }]);
        // A file that is replaced as a whole is never read half.
        let (new, path) = (
            self.dir.path().join("targets.new"),
            self.dir.path().join("targets.json"),
        );
        std::fs::write(&new, groups.to_string()).unwrap();
        std::fs::rename(new, path).unwrap();
    }

    /// Returns the endpoint for `OTEL_EXPORTER_OTLP_ENDPOINT`.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Returns the file of traces.
    pub fn traces(&self) -> OtlpFile {
        OtlpFile(self.dir.path().join("traces.json"))
    }

    /// Returns the file of metrics.
    pub fn metrics(&self) -> OtlpFile {
        OtlpFile(self.dir.path().join("metrics.json"))
    }

    fn config(&self) -> String {
        let dir = self.dir.path().display();
        format!(
            "receivers:
  otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{port}'}}}}}}
  prometheus:
    config:
      scrape_configs:
        - job_name: qres
          scrape_interval: 1s
          file_sd_configs: [{{files: ['{dir}/targets.json'], refresh_interval: 1s}}]
processors:
  batch: {{timeout: 100ms}}
exporters:
  file/traces: {{path: '{dir}/traces.json', append: true, flush_interval: 100ms}}
  file/metrics: {{path: '{dir}/metrics.json', append: true, flush_interval: 100ms}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [file/traces]}}
    metrics: {{receivers: [prometheus], processors: [batch], exporters: [file/metrics]}}
",
            port = self.port
        )
    }
}
