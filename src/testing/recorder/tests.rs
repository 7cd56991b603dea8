//! The checks themselves.
#![allow(unsafe_code)]

use super::*;

/// The checks themselves: a backend that forgot an event would be found out.
#[test]
fn the_recorder_sees_races_and_broken_captures() {
    let device = Recorder::default();
    let [one, two] = [0, 1].map(|_| device.create_stream().unwrap());
    let memory = device.allocate(one, 256).unwrap();
    let event = device.create_event(false).unwrap();
    let (write, read) = (|| Uses::writing(&[memory]), || Uses::reading(&[memory]));
    device.enqueue("writer", one, write());
    device.record(event, one).unwrap();
    device.enqueue("early", one, Uses::default());
    device.wait(two, event).unwrap();
    device.enqueue("reader", two, read());
    assert_eq!(device.faults(), Vec::<String>::new());
    device.enqueue("overwriter", one, write());
    assert_eq!(device.faults().len(), 1, "{:?}", device.faults());
    device.enqueue("late reader", two, read());
    assert_eq!(device.faults().len(), 2, "{:?}", device.faults());
    device.enqueue("stray", one, Uses::reading(&[7]));
    assert_eq!(device.faults().len(), 3, "{:?}", device.faults());

    device.begin_capture(one).unwrap();
    assert!(device.allocate(one, 8).is_err());
    assert!(device.wait(one, event).is_err(), "an event from outside");
    let inside = device.create_event(false).unwrap();
    device.record(inside, one).unwrap();
    device.wait(two, inside).unwrap();
    device.enqueue("forked", two, Uses::default());
    let error = device.end_capture(one).unwrap_err();
    assert!(error.to_string().contains("joined"), "{error}");
}

/// Page-locked memory, and networks, are used by the host too.
#[test]
fn the_recorder_sees_what_the_host_does_not_wait_for() {
    let device = Recorder::default();
    let stream = device.create_stream().unwrap();
    let memory = device.allocate(stream, 64).unwrap();
    let mut host = device.allocate_pinned(64).unwrap();
    let network = device.add_network();
    let event = device.create_event(false).unwrap();
    let finish = || {
        device.record(event, stream).unwrap();
        device.synchronize(event).unwrap();
    };
    // SAFETY: both are 64 bytes long, and live.
    let upload = |from: *const u8| unsafe { device.upload(stream, memory, from, 64) }.unwrap();
    host.write().fill(1);
    upload(host.start());
    assert_eq!(device.under_way(), [stream.0]);
    finish();
    assert_eq!(device.under_way(), [0; 0]);
    host.write().fill(2);
    device.enqueue("network", stream, Uses::reading(&[network]));
    finish();
    assert_eq!(device.faults(), Vec::<String>::new());

    upload(host.start());
    host.read();
    assert_eq!(device.faults(), Vec::<String>::new(), "both read");
    host.write().fill(3);
    assert_eq!(device.faults().len(), 1, "{:?}", device.faults());
    device.enqueue("network", stream, Uses::reading(&[network]));
    device.drop_network(network);
    assert_eq!(device.faults().len(), 2, "{:?}", device.faults());
    // SAFETY: as above.
    unsafe { device.download(stream, host.start(), memory, 64) }.unwrap();
    host.read();
    assert_eq!(device.faults().len(), 3, "{:?}", device.faults());
}
