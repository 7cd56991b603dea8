use std::sync::mpsc;

use gst::ProgressType::{self, Canceled, Complete, Continue, Error as Failed, Start};
use gst::glib;
use gst::prelude::*;
use uretinex::{Phase, Progress, Subnetwork};

use super::*;

const LIMIT: Duration = Duration::from_secs(120);

fn progress(phase: Phase) -> Progress {
    Progress {
        subnetwork: Subnetwork::Restoration,
        index: 1,
        count: 4,
        phase,
        elapsed: Duration::ZERO,
    }
}

/// A listener, and what it has heard.
fn listener() -> (
    impl Fn(ProgressType, &str) + Send + 'static,
    mpsc::Receiver<(ProgressType, String)>,
) {
    let (sender, heard) = mpsc::channel();
    let tell = move |kind, text: &str| {
        let _ = sender.send((kind, text.to_owned()));
    };
    (tell, heard)
}

/// Work that goes on until it is cancelled, and then says so.
fn endless(ended: mpsc::Sender<()>) -> impl FnOnce(&mut Observer<'_>) -> Result<()> + Send + 'static {
    move |observer| {
        while observer(&progress(Phase::Waiting)).is_continue() {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = ended.send(());
        Err(Error::new(ErrorKind::Cancelled, "cancelled"))
    }
}

fn ended(preparation: &Preparation) -> Result<()> {
    match preparation.outcome(true) {
        Outcome::Ended(outcome) => outcome,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_step_is_told_and_the_end_too() {
    gst::init().unwrap();
    let preparation = Preparation::default();
    for (fails, last) in [(false, Complete), (true, Failed)] {
        let (tell, heard) = listener();
        let work = move |observer: &mut Observer<'_>| {
            let _ = observer(&progress(Phase::Loading));
            let _ = observer(&progress(Phase::Building));
            if fails {
                return Err(Error::new(ErrorKind::BackendFailed, "as planned"));
            }
            Ok(())
        };
        preparation.start(work, tell).unwrap();
        assert!(preparation.is_wanted());
        assert_eq!(ended(&preparation).is_err(), fails);
        assert!(matches!(preparation.outcome(false), Outcome::None), "it is taken once");
        let told: Vec<_> = heard.try_iter().collect();
        let kinds: Vec<_> = told.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds, [Start, Continue, Continue, last], "{told:?}");
        assert!(told[2].1.contains("engine 2 of 4 (restoration): building"), "{told:?}");
        assert_eq!(told[3].1 == "as planned", fails, "{told:?}");
    }
}

#[test]
fn work_that_is_not_wanted_any_more_is_cancelled() {
    gst::init().unwrap();
    type End = fn(&Preparation);
    let cancel: End = Preparation::cancel;
    let close: End = Preparation::close;
    let replace: End = |preparation| preparation.start(|_| Ok(()), |_, _| {}).unwrap();
    for (what, end) in [("cancelled", cancel), ("closed", close), ("replaced", replace)] {
        let preparation = Preparation::default();
        let (sender, done) = mpsc::channel();
        let (tell, heard) = listener();
        preparation.start(endless(sender), tell).unwrap();
        assert!(matches!(preparation.outcome(false), Outcome::UnderWay), "{what}");
        end(&preparation);
        done.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("{what}: goes on"));
        drop(preparation);
        assert_eq!(heard.try_iter().last().map(|told| told.0), Some(Canceled), "{what}");
    }
}

#[test]
fn a_flush_and_a_stop_end_the_wait() {
    gst::init().unwrap();
    for stopping in [false, true] {
        let preparation = Preparation::default();
        let (sender, done) = mpsc::channel();
        preparation.start(endless(sender), |_, _| {}).unwrap();
        let interrupted = thread::scope(|scope| {
            let waiting = scope.spawn(|| preparation.outcome(true));
            thread::sleep(Duration::from_millis(20));
            match stopping {
                true => preparation.close(),
                false => preparation.set_flushing(true),
            }
            waiting.join().unwrap()
        });
        // A stop cancels the work, which may have ended before the wait does.
        match interrupted {
            Outcome::Interrupted => {}
            Outcome::Ended(Err(e)) if stopping && e.kind() == ErrorKind::Cancelled => {}
            other => panic!("stopping {stopping}: {other:?}"),
        }
        let refused = preparation.start(|_| Ok(()), |_, _| {}).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Cancelled);
        drop(preparation);
        done.recv_timeout(LIMIT).expect("the thread has ended");
    }
}

#[test]
fn work_goes_on_through_a_flush() {
    gst::init().unwrap();
    let preparation = Preparation::default();
    let (go, wait) = mpsc::channel::<()>();
    let work = move |observer: &mut Observer<'_>| {
        let _ = wait.recv();
        match observer(&progress(Phase::Ready)) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(Error::new(ErrorKind::Cancelled, "cancelled")),
        }
    };
    preparation.start(work, |_, _| {}).unwrap();
    preparation.set_flushing(true);
    assert!(matches!(preparation.outcome(true), Outcome::Interrupted));
    preparation.set_flushing(false);
    drop(go);
    ended(&preparation).unwrap();
    // It can be closed and opened again.
    preparation.close();
    assert!(preparation.start(|_| Ok(()), |_, _| {}).is_err());
    preparation.open();
    preparation.start(|_| Ok(()), |_, _| {}).unwrap();
    ended(&preparation).unwrap();
}

/// Work that does not ask whether it is cancelled for a while, as the build of one engine.
#[test]
fn a_stop_waits_for_a_bounded_time_and_the_end_for_all() {
    gst::init().unwrap();
    let preparation = Preparation::with_patience(Duration::from_millis(50));
    let (go, wait) = mpsc::channel::<()>();
    let (sender, done) = mpsc::channel();
    let work = move |_: &mut Observer<'_>| {
        let _ = wait.recv();
        thread::sleep(Duration::from_millis(50));
        let _ = sender.send(());
        Ok(())
    };
    preparation.start(work, |_, _| {}).unwrap();
    preparation.close();
    preparation.join();
    assert!(done.try_recv().is_err(), "the work goes on without the element");
    drop(go);
    drop(preparation);
    assert!(done.try_recv().is_ok(), "nothing works any more");
}

/// The element is finalized by the thread itself if that has its last reference.
#[test]
fn the_thread_itself_may_drop_the_preparation() {
    gst::init().unwrap();
    let preparation = Arc::new(Preparation::default());
    let (sender, done) = mpsc::channel();
    let (go, wait) = mpsc::channel::<()>();
    let own = preparation.clone();
    let work = move |_: &mut Observer<'_>| {
        let _ = wait.recv();
        drop(own);
        let _ = sender.send(());
        Ok(())
    };
    preparation.start(work, |_, _| {}).unwrap();
    drop(preparation);
    drop(go);
    done.recv_timeout(LIMIT).expect("it does not wait for itself");
}

#[test]
fn a_panic_in_the_work_is_an_error() {
    gst::init().unwrap();
    let preparation = Preparation::default();
    preparation.start(|_| panic!("as planned"), |_, _| {}).unwrap();
    assert!(ended(&preparation).unwrap_err().to_string().contains("as planned"));
}

/// Messages reach the bus, with the element as their source.
#[test]
fn progress_is_on_the_bus() {
    gst::init().unwrap();
    let element: crate::URetinexEnhance = glib::Object::new();
    let bus = gst::Bus::new();
    element.set_bus(Some(&bus));
    super::super::messages::progress(element.upcast_ref(), Start, "text");
    let message = bus.pop_filtered(&[gst::MessageType::Progress]).expect("a message");
    let gst::MessageView::Progress(progress) = message.view() else {
        panic!("{message:?}")
    };
    let (kind, code, text) = progress.get();
    assert_eq!((kind, code, text), (Start, "engines", "text"));
    bus.set_flushing(true);
}
