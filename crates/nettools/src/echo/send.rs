//! The echo client: sends messages and checks the answers byte by byte. With a rate it follows a schedule that does not
//! wait for answers; without, each connection sends its next message after the last one is back.

pub use super::group::GroupOptions;
pub use super::measure::{EchoSendSummary, Percentiles, Progress};
use super::plan::Plan;
pub use super::plan::{EchoSendOptions, Input};
use super::{streams, udp_client};
use crate::error::{Outcome, ToolError};
use crate::{Report, Stop, Stopped, Target, Verdict};

/// Fewest messages for which bars are drawn.
const PICTURE_MIN: u64 = 100;

/// Checks that the options fit together.
fn check(options: &EchoSendOptions, has_input: bool) -> Result<(), ToolError> {
    let wrong = |text: &str| Err(ToolError::Usage(text.to_owned()));
    match () {
        () if options.connections == 0 => wrong("--connections must be at least 1"),
        () if options.udp && options.connections > 1 => {
            wrong("UDP has no connections: leave --connections out")
        }
        () if options.udp && options.tls.is_some() => {
            wrong("TLS needs TCP or a Unix socket; DTLS over UDP is not supported")
        }
        () if options.udp && matches!(options.to, Target::Unix(_)) => {
            wrong("--udp works only with network addresses, not with Unix sockets")
        }
        () if !options.udp && options.group.broadcast => {
            wrong("--broadcast needs --udp: TCP connects to one host")
        }
        () if options.udp && has_input => wrong("--stdin does not work with UDP; use --message"),
        () if has_input && options.connections > 1 => wrong("--stdin works with one connection only"),
        () if options.rate.is_some_and(|rate| !(0.001..=10_000_000.0).contains(&rate)) => {
            wrong("--rate is a number of messages per second, from 0.001 to 10000000")
        }
        () if options.bytes == Some(0) || options.messages.iter().any(Vec::is_empty) && !options.udp => {
            wrong("a message on a stream must have at least one byte")
        }
        () => Ok(()),
    }
}

/// Runs the client. `watch` is called at intervals with the progress.
pub fn run(
    options: &EchoSendOptions,
    input: Option<Input>,
    report: &Report,
    stop: &Stop,
    watch: &mut dyn FnMut(&Progress),
) -> Outcome {
    check(options, input.is_some())?;
    let plan = Plan::of(options);
    if options.udp {
        return udp_client::run(options, &plan, report, stop, watch);
    }
    let (summary, stopped, tally) = streams::run(options, &plan, input, report, stop, watch)?;
    report.record(&summary)?;
    if tally.messages >= PICTURE_MIN {
        tally.draw(report)?;
    }
    if summary.wrong > 0 {
        report.means("this is not an echo server, or a device on the way changes, loses or adds bytes")?;
    } else if summary.unserved > 0 && summary.messages > 0 {
        report.means(&format!(
            "{} of {} connections were open, but the server did not read from them: the kernel completed them for a server \
             that serves fewer at once, one after the other, or too slowly",
            summary.unserved, summary.connections
        ))?;
    } else if summary.unsent > 0 {
        report.means(
            "the server is slower than the schedule: messages waited for earlier ones until the end. They are not in the \
             percentiles. Use a lower --rate or more --connections to find the speed that it can keep",
        )?;
    } else if summary.unanswered > 0 && stopped.is_none() {
        report.means(
            "the connection is open, but no answer comes: the server does not read, or does not answer",
        )?;
    }
    Ok(match stopped {
        Some(Stopped::TimedOut) => Verdict::TimedOut,
        _ if summary.wrong + summary.broken > 0 => Verdict::Bad,
        // Ctrl-C is a normal end, except before the first answer.
        Some(Stopped::Requested) if summary.messages == 0 => Verdict::Bad,
        None if summary.unanswered + summary.unserved + summary.unsent > 0 => Verdict::Bad,
        _ => Verdict::Good,
    })
}
