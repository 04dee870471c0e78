//! vang net bytes, compared with Python's `struct`, `socket.htons` and codecs.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::vang;

fn bytes(args: &[&str]) -> Output {
    vang().args(["net", "bytes"]).args(args).output().unwrap()
}

fn objects(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs a program with the objects of a run on its stdin; it checks each.
fn python_agrees(program: &str, output: &Output) {
    let mut python = Command::new("python3").args(["-c", program]).stdin(Stdio::piped()).spawn().unwrap();
    python.stdin.take().unwrap().write_all(&output.stdout).unwrap();
    assert!(python.wait().unwrap().success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn numbers_are_those_of_struct_and_of_the_byte_order_functions() {
    let program = "\
import json, socket, struct, sys
for line in sys.stdin:
    row = json.loads(line)
    if row['event'] != 'number': continue
    value = int(row['value'])
    for order in ('big', 'little'):
        assert struct.pack(row['struct_' + order], value).hex(' ') == row[order], row
    assert struct.unpack(row['struct_little'], bytes.fromhex(row['big']))[0] == int(row['swapped']), row
    other = row['struct_big'].swapcase()
    read = struct.unpack(other, bytes.fromhex(row['big']))[0]
    assert read == int(row.get('other_sign', value)), row
    if sys.byteorder == 'little' and not row['signed'] and row['bits'] in (16, 32):
        turn = {16: socket.htons, 32: socket.htonl}[row['bits']]
        assert turn(value) == int(row['swapped']), row
";
    for (number, sizes) in [
        ("512", 3),
        ("-2", 4),
        ("40000", 3),
        ("0", 4),
        ("0xffffffffffffffff", 1),
        ("-9223372036854775808", 1),
    ] {
        let output = bytes(&[number, "--json"]);
        assert!(output.status.success(), "{output:?}");
        let rows = objects(&output).iter().filter(|row| row["event"] == "number").count();
        assert_eq!(rows, sizes, "{number}");
        python_agrees(program, &output);
    }
}

#[test]
fn texts_are_those_of_pythons_codecs_in_both_directions() {
    let program = "\
import codecs, json, sys
marks = {'utf-8': codecs.BOM_UTF8, 'utf-16-le': codecs.BOM_UTF16_LE, 'utf-16-be': codecs.BOM_UTF16_BE,
         'utf-32-le': codecs.BOM_UTF32_LE, 'utf-32-be': codecs.BOM_UTF32_BE}
for line in sys.stdin:
    row = json.loads(line)
    if row['event'] == 'encoded':
        name = row['encoding']
        if name in marks: assert row['byte_order_mark'] == marks[name].hex(' '), row
        assert row['begins_with_mark'] == ('hex' in row and name in ('utf-16', 'utf-32', 'utf-8-sig')), row
        if row['begins_with_mark']:
            assert row['hex'] == TEXT.encode(name).hex(' ') and row['hex'].startswith(row['byte_order_mark']), row
        try: expected = TEXT.encode(name)
        except UnicodeEncodeError: expected = None
        # encoding.rs and encode.rs name what vang reads beyond Python, and what it does not write.
        if 'hex' not in row: assert expected is None or name in ('big5hkscs', 'euc_jp'), row
        elif expected is None: assert name in ('big5', 'big5hkscs', 'gbk', 'gb2312'), row
        else: assert bytes.fromhex(row['hex']).decode(name) == TEXT and len(expected) == row['bytes'], row
";
    for text in ["xin chào", "犬", "Ж", "€5"] {
        let output = bytes(&["--text", text, "--encoding", "all", "--json"]);
        assert_eq!(output.status.code(), Some(1), "not every encoding has {text}");
        assert!(objects(&output).len() > 80);
        python_agrees(&program.replace("TEXT", &format!("{text:?}")), &output);
    }
    let output = bytes(&["--hex", "ff fe 68 00 e9 00", "--json"]);
    let rows = objects(&output);
    let text = rows.iter().find(|row| row["encodings"][0] == "utf-16").unwrap();
    assert_eq!(text["text"], "hé");
    let said = String::from_utf8(bytes(&["--hex", "ff fe 68 00"]).stdout).unwrap();
    assert!(said.contains("ff fe is a byte order mark: utf-16 follows, little-endian"), "{said}");
}

#[test]
fn the_byte_order_mark_is_shown_where_python_writes_it() {
    let native = if cfg!(target_endian = "big") { ["fe ff", "00 e9"] } else { ["ff fe", "e9 00"] };
    for (name, mark, text) in [("utf-16", native[0], native[1]), ("utf-8-sig", "ef bb bf", "c3 a9")] {
        let said = String::from_utf8(bytes(&["é", "--encoding", name]).stdout).unwrap();
        let expected = format!("{mark} {text}  ({mark} is the byte order mark)");
        assert!(said.contains(&expected), "{name}: {said}");
    }
    let said = String::from_utf8(bytes(&["é", "--encoding", "utf-16-le"]).stdout).unwrap();
    assert!(said.contains(" e9 00  (with a byte order mark: ff fe first)"), "{said}");
}

#[test]
fn a_character_that_cannot_be_seen_is_escaped() {
    let said = String::from_utf8(bytes(&["--hex", "fffe6100"]).stdout).unwrap();
    for line in ["\"a\" in utf-16\n", "\"\\u{feff}a\" in utf-16-le\n", "\"\\u{fffe}愀\" in utf-16-be\n"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[test]
fn what_is_no_number_no_byte_and_no_encoding_is_refused_with_what_is() {
    for (args, said) in [
        (&["99999999999999999999"][..], "does not fit into 64 bits"),
        (&["5", "--encoding", "utf-8"], "for a text write --text '5'"),
        (&["--hex", "0g"], "no two hexadecimal digits at character 1"),
        (&["x", "--encoding", "klingon"], "unknown encoding 'klingon'"),
        (&[], "<VALUE>"),
    ] {
        let output = bytes(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(2) && stderr.contains(said), "{args:?}: {stderr}");
    }
    let output = bytes(&["--hex", "c3 28", "--encoding", "utf-8"]);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.code() == Some(1) && said.contains("not utf-8: byte 0xc3 at byte 0"), "{said}");
}
