//! `/metrics`: the same picture as numbers for Prometheus, in the OpenMetrics text format. No label names a
//! person or a room: their number has no bound, and who they are is nobody's business here.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::status::machine::Machine;
use crate::status::monitoring::BUCKETS;
use crate::status::snapshot::Snapshot;

/// The format of what `text` writes.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What is scraped.
pub(crate) fn text(snapshot: Snapshot, machine: Machine) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { snapshot, machine }));
    let mut text = String::with_capacity(8 << 10);
    // Writing into memory does not fail.
    let _ = encode(&mut text, &registry);
    text
}

#[derive(Debug)]
struct Scrape {
    snapshot: Snapshot,
    machine: Machine,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Scrape { snapshot, machine } = self;
        let hub = &snapshot.hub;
        let mut out = Out(&mut encoder);
        out.info("vang_build", "The program that serves", &[("version", &snapshot.server)])?;
        let ready = snapshot.not_ready(machine.disk).is_none();
        out.gauge("vang_ready", "1 when /readyz says so", u64::from(ready))?;
        out.counter("vang_messages", "Messages posted since the start", hub.messages)?;
        out.gauge("vang_journal_seq", "The last entry of the journal", hub.seq)?;
        let damaged = "Entries of the journal that were found damaged since the start";
        out.gauge("vang_damaged_entries", damaged, snapshot.damaged)?;
        let lag = snapshot.lag(snapshot.view);
        out.gauge("vang_view_lag_entries", "Entries that the view is behind", lag)?;
        let lag = snapshot.lag(snapshot.find);
        out.gauge("vang_find_lag_entries", "Entries that the index for find is behind", lag)?;
        let classes = snapshot.classes.iter().map(|(class, &open)| {
            (vec![("door", class.door), ("encryption", class.encryption), ("origin", class.origin)], open)
        });
        out.gauges("vang_connections", "Open connections by what they speak", classes)?;
        out.gauge("vang_connections_most", "Open connections allowed", snapshot.connections_max)?;
        out.counter(
            "vang_connections_accepted",
            "Connections accepted since the start, including refused ones",
            snapshot.accepted,
        )?;
        out.counter(
            "vang_connections_refused",
            "Accepted connections that were refused: over a limit, or without the proxy or the PROXY header \
             that the address needs",
            snapshot.refused,
        )?;
        out.counter("vang_shed", "Connections ended for want of memory since the start", snapshot.shed)?;
        let refusals = snapshot.refusals.iter().map(|&(code, count)| (vec![("code", code.as_str())], count));
        out.counters("vang_refusals", "Requests refused since the start, by code", refusals)?;
        out.counter(
            "vang_password_hashes",
            "Hashes begun since the start, to check a password or to store a new one",
            snapshot.password_hashes,
        )?;
        out.counter(
            "vang_passwords_refused",
            "Passwords not checked since the start, because too many were tried",
            snapshot.passwords_refused,
        )?;
        out.gauge("vang_passwords_waiting", "Passwords that wait to be checked", snapshot.passwords_waiting)?;
        out.gauge(
            "vang_unread_bytes",
            "Bytes in memory that clients have not read yet",
            snapshot.unread_bytes,
        )?;
        out.gauge("vang_unread_connections", "Connections with unread bytes", snapshot.unread_connections)?;
        out.gauge(
            "vang_queue_bytes",
            "Bytes that wait to be written to the journal",
            hub.queue_bytes as u64,
        )?;
        out.gauge(
            "vang_held_bytes",
            "Bytes of memory that clients make the server hold",
            snapshot.held_bytes,
        )?;
        out.gauge(
            "vang_held_bytes_max",
            "How many those may be: half of the limit memory",
            snapshot.memory_max,
        )?;
        out.gauge("vang_tail_bytes", "Bytes of recent messages in memory", hub.tail_bytes as u64)?;
        let buckets: Vec<(f64, u64)> = BUCKETS.into_iter().zip(snapshot.appends.buckets).collect();
        let appends = out.0.encode_descriptor(
            "vang_append_seconds",
            "From handing a batch to the journal to its answer",
            None,
            MetricType::Histogram,
        );
        let (sum, count) = (snapshot.appends.sum_us as f64 / 1e6, snapshot.appends.count());
        appends?.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)?;
        if let Some(space) = machine.disk {
            out.gauge("vang_disk_free_bytes", "Room on the data folder's disk", space.free)?;
            out.gauge("vang_disk_size_bytes", "Size of the data folder's disk", space.size)?;
        }
        let files = machine.files.iter().map(|&(name, size)| (vec![("file", name)], size));
        out.gauges("vang_file_bytes", "Size of the data folder's files", files)?;
        out.maybe("process_resident_memory_bytes", "Resident memory", machine.resident_bytes)?;
        out.maybe("process_open_fds", "Open files", machine.open_files)?;
        out.maybe("process_max_fds", "Open files allowed", machine.open_files_max)?;
        if let Some(seconds) = machine.cpu_seconds {
            let cpu =
                out.0.encode_descriptor("process_cpu_seconds", "Processor time", None, MetricType::Counter);
            cpu?.encode_counter::<NoLabelSet, _, f64>(&seconds, None)?;
        }
        if let Some(began) = machine.began {
            let what = "When the process began, since 1970";
            let start = out.0.encode_descriptor("process_start_time_seconds", what, None, MetricType::Gauge);
            start?.encode_gauge(&began)?;
        }
        Ok(())
    }
}

/// A short way to say what `DescriptorEncoder` says at length.
struct Out<'a, 'b>(&'a mut DescriptorEncoder<'b>);

type Labels<'a> = Vec<(&'a str, &'a str)>;

impl Out<'_, '_> {
    fn gauge(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn maybe(&mut self, name: &str, help: &str, value: Option<u64>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.gauge(name, help, value))
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&value, None)
    }

    fn info(&mut self, name: &str, help: &str, labels: &[(&str, &str)]) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(&labels)
    }

    fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (labels, value) in values {
            metric.encode_family(&labels.as_slice())?.encode_gauge(&value)?;
        }
        Ok(())
    }

    fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        values: impl Iterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (labels, value) in values {
            metric.encode_family(&labels.as_slice())?.encode_counter::<NoLabelSet, _, u64>(&value, None)?;
        }
        Ok(())
    }
}
