//! How fast a journal takes entries: `cargo run --release --example append_speed -- FOLDER`.

use std::time::Instant;

use bytes::Bytes;
use vang_chat::{Command, MessageCommand, NameKey, Node, Principal, RoomId, Rules, Seq, Time};
use vang_journal::{
    Appended, Batch, DataFolder, Draft, Durability, Envelope, Origin, Payload, Through, open_journal,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = DataFolder::open(std::env::args().nth(1).ok_or("usage: append_speed FOLDER")?)?;
    let mut journal = open_journal(&folder.journal_db(), Durability::PowerCut)?;
    let mut counter = 0;
    for size in [1, 16, 256, 2_048] {
        let batches = (400_000 / size).min(2_000);
        let begun = Instant::now();
        for _ in 0..batches {
            let drafts = (0..size).map(|_| {
                counter += 1;
                draft(counter)
            });
            let batch = Batch { drafts: drafts.collect(), checkpoints: Vec::new() };
            if !matches!(journal.append(&batch), Appended::Appended { .. }) {
                return Err("not appended".into());
            }
        }
        let took = begun.elapsed();
        let entries = f64::from(size * batches);
        println!(
            "batches of {size:>5}: {:>9.0} entries/s, {:>7.3} ms a batch",
            entries / took.as_secs_f64(),
            took.as_secs_f64() * 1e3 / f64::from(batches)
        );
    }
    let begun = Instant::now();
    drop(journal);
    println!("closing: {:.1} ms", begun.elapsed().as_secs_f64() * 1e3);
    let begun = Instant::now();
    let journal = open_journal(&folder.journal_db(), Durability::PowerCut)?;
    let opened = begun.elapsed();
    let mut reader = journal.reader()?;
    println!("opening {} entries: {:.1} ms", reader.end()?, opened.as_secs_f64() * 1e3);
    let begun = Instant::now();
    let mut after = Seq(0);
    while let Some(last) = reader.sealed(after, 4_096)?.last() {
        after = last.seq;
    }
    println!("reading all envelopes: {:.0} entries/s", after.0 as f64 / begun.elapsed().as_secs_f64());
    let seqs: Vec<Seq> = (0..256).map(|i| Seq(1 + i * 7_919 % after.0)).collect();
    let begun = Instant::now();
    for _ in 0..100 {
        reader.get(&seqs, usize::MAX)?;
    }
    println!("256 scattered entries: {:.3} ms", begun.elapsed().as_secs_f64() * 10.0);
    Ok(())
}

fn draft(counter: u64) -> Draft {
    let payload = Payload { salt: [counter as u8; 16], bytes: Bytes::from(vec![counter as u8; 100]) };
    let envelope = Envelope {
        rules: Rules(1),
        origin: Origin { node: Node(1), counter },
        time: Time(1_700_000_000_000 + counter),
        through: Through::default(),
        digest: payload.digest(),
        command: Command::Message(MessageCommand::Send {
            room: RoomId(2),
            from: Principal::Guest(NameKey([9; 16])),
            id: None,
        }),
    };
    Draft { envelope: envelope.encode(), payload }
}
