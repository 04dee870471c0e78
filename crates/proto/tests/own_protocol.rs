//! `examples/own_protocol.rs` says what it should.

#[path = "../examples/own_protocol.rs"]
mod own_protocol;

#[test]
fn a_thermometer_is_answered_with_the_mean_of_its_readings() {
    let mut printed = Vec::new();
    own_protocol::run(&mut printed).expect("a connection to ourselves");
    let expected = "20.5 °C; mean so far 20.50\n21.0 °C; mean so far 20.75\n19.1 °C; mean so far 20.20\n";
    assert_eq!(String::from_utf8(printed).as_deref(), Ok(expected));
}
