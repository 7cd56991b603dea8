//! What the RTSP server makes a stream from when the first viewer asks for it: a relay's frames to H.264, its audio as it
//! is.

mod imp;

use gst::glib;

glib::wrapper! {
    /// Makes the stream of a camera.
    pub struct StreamFactory(ObjectSubclass<imp::StreamFactory>) @extends gst_rtsp_server::RTSPMediaFactory;
}
