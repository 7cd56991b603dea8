#!/usr/bin/python3
"""Camera or file in, bright video in a browser, by WebRTC.

    pipelines/webrtc.py [rtsp://camera/stream | /dev/videoN | FILE] [--port 8090] [--address 127.0.0.1]

then open http://127.0.0.1:8090. Without a source there is a test picture. The video is encoded once, for all viewers together. A
browser sends its offer by POST to /offer and gets the answer, with all addresses in it. There is no password and no STUN server: it
is for this machine and its own network.

Needs python3-gi, gir1.2-gst-plugins-bad-1.0, gstreamer1.0-nice, plugins-base, -good (RTP), -bad (webrtc), -ugly (x264) and libav.
ENHANCE sets the element and its properties, "uretinexenhance" unless set.
"""

import argparse
import http.server
import os
import pathlib
import re
import sys
import threading

TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", pathlib.Path(__file__).resolve().parent / "../target"))
BUILT = TARGET / os.environ.get("URETINEX_BUILD", "release")
if (BUILT / "libgsturetinex.so").exists():
    os.environ["GST_PLUGIN_PATH"] = os.pathsep.join(filter(None, [str(BUILT), os.environ.get("GST_PLUGIN_PATH")]))

import gi  # noqa: E402  The plugin path has to be set before.

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstVideo", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstVideo, GstWebRTC  # noqa: E402

#: Of an offer: more is none.
LARGEST_OFFER = 1 << 16
#: Seconds that an answer may take, most of them to find this machine's addresses.
PATIENCE = 10
PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>Bright</title>
<style>body { margin: 0; background: #111 } video { width: 100vw; height: 100vh }</style>
<video id="video" autoplay muted playsinline controls></video>
<script>
const peer = new RTCPeerConnection();
peer.addTransceiver("video", { direction: "recvonly" });
peer.ontrack = (event) => (video.srcObject = event.streams[0] ?? new MediaStream([event.track]));
const gathered = new Promise((done) => {
  peer.onicegatheringstatechange = () => peer.iceGatheringState === "complete" && done();
});
peer.createOffer()
  .then((offer) => peer.setLocalDescription(offer))
  .then(() => gathered)
  .then(() => fetch("offer", { method: "POST", body: peer.localDescription.sdp }))
  .then(async (answer) => {
    if (!answer.ok) throw new Error(await answer.text());
    return peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
  })
  .catch((error) => (document.body.textContent = error));
</script>
"""


def source_of(what):
    if what is None:
        return "videotestsrc is-live=true ! videobalance contrast=0.2 ! video/x-raw,width=320,height=180,framerate=15/1"
    if what.startswith(("rtsp://", "rtsps://")):
        return f'rtspsrc location="{what}" latency=200 ! decodebin'
    if what.startswith("/dev/video"):
        return f"v4l2src device={what} ! decodebin"
    if not os.path.isfile(what):
        sys.exit(f"webrtc.py: there is no file {what}")
    return f'filesrc location="{what}" ! decodebin ! identity sync=true'


def payload_of(offer):
    """By what number and profile an offer calls H.264 of the baseline profile in packets of any size; none if it does not take that."""
    for number in re.findall(r"^a=rtpmap:(\d+) H264/90000", offer, re.MULTILINE):
        parameters = re.search(rf"^a=fmtp:{number} (.*)$", offer, re.MULTILINE)
        profile = parameters and re.search("profile-level-id=(42[0-9a-f]{4})", parameters[1], re.I)
        if profile and "packetization-mode=1" in parameters[1]:
            return int(number), profile[1]
    return None


class Refused(Exception):
    pass


class Viewer:
    """One browser: a branch of the pipeline that ends in a webrtcbin."""

    def __init__(self, stage, offer):
        self.stage = stage
        chosen = payload_of(offer)
        if chosen is None:
            raise Refused("the offer has no H.264 of the baseline profile with packetization-mode=1")
        kind, description = GstSdp.SDPMessage.new_from_text(offer)
        if kind != GstSdp.SDPResult.OK:
            raise Refused("this is no offer of SDP")
        payload, profile = chosen
        # What is sent is of that profile, and of no higher level than a browser decodes; webrtcbin compares word for word.
        caps = (
            f"application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload={payload},"
            f"packetization-mode=(string)1,profile-level-id=(string){profile}"
        )
        self.branch = Gst.parse_bin_from_description(
            f"queue name=in leaky=downstream max-size-buffers=30 ! rtph264pay pt={payload} config-interval=-1 "
            f"aggregate-mode=zero-latency ! capssetter replace=true caps={caps} ! {caps} ! webrtcbin name=peer bundle-policy=max-bundle",
            False,
        )
        self.branch.add_pad(Gst.GhostPad.new("sink", self.branch.get_by_name("in").get_static_pad("sink")))
        self.peer = self.branch.get_by_name("peer")
        stage.pipeline.add(self.branch)
        self.pad = stage.tee.request_pad_simple("src_%u")
        # What comes before the answer is of no use, and nothing is to wait for it.
        self.block = self.pad.add_probe(Gst.PadProbeType.BUFFER, lambda *_: Gst.PadProbeReturn.DROP)
        self.pad.link(self.branch.get_static_pad("sink"))
        self.branch.sync_state_with_parent()
        transceiver = self.peer.emit("get-transceiver", 0)
        transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        # No packet has told yet what is sent.
        transceiver.set_property("codec-preferences", Gst.Caps.from_string(caps))
        self.peer.connect("notify::connection-state", self.on_state)
        try:
            self.do("set-remote-description", GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.OFFER, description))
            promise = self.do("create-answer", None)  # It holds the answer.
            reply = promise.get_reply()
            answer = reply.get_value("answer") if reply and reply.has_field("answer") else None
            if answer is None:
                raise Refused("webrtcbin makes no answer to this offer")
            gathered = threading.Event()

            def on_gathering(*_):
                if self.peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
                    gathered.set()

            self.peer.connect("notify::ice-gathering-state", on_gathering)
            self.do("set-local-description", answer)
            on_gathering()
            gathered.wait(PATIENCE)
            self.answer = self.peer.get_property("local-description").sdp.as_text()
        except Refused:
            self.close()
            raise

    def do(self, what, argument):
        promise = Gst.Promise.new()
        self.peer.emit(what, argument, promise)
        # Promises of GStreamer know no limit of time.
        waiting = threading.Thread(target=promise.wait, daemon=True)
        waiting.start()
        waiting.join(PATIENCE)
        if waiting.is_alive():
            promise.interrupt()
            raise Refused(f"{what} takes too long")
        return promise

    def on_state(self, *_):
        state = self.peer.get_property("connection-state")
        states = GstWebRTC.WebRTCPeerConnectionState
        if state == states.CONNECTED:
            self.pad.remove_probe(self.block)
            self.stage.key_frame()
        elif state in (states.DISCONNECTED, states.FAILED, states.CLOSED):
            # Not from a thread of the element that is taken away.
            GLib.idle_add(self.close)

    def close(self):
        if self.branch is None:
            return
        branch, self.branch = self.branch, None
        self.pad.unlink(branch.get_static_pad("sink"))
        self.stage.tee.release_request_pad(self.pad)
        branch.set_state(Gst.State.NULL)
        self.stage.pipeline.remove(branch)


class Stage:
    """Source, element and encoder, with a tee for viewers behind."""

    def __init__(self, source):
        enhance = os.environ.get("ENHANCE", "uretinexenhance")
        self.pipeline = Gst.parse_launch(
            f"{source_of(source)} ! videoconvert ! deinterlace mode=auto-strict fields=top ! videoconvert "
            f"! queue leaky=downstream max-size-buffers=2 ! {enhance} ! videoconvert "
            "! x264enc name=coder tune=zerolatency speed-preset=veryfast key-int-max=60 bitrate=2500 "
            "! video/x-h264,profile=constrained-baseline ! h264parse ! tee name=out out. ! queue ! fakesink sync=false"
        )
        self.tee, self.lock = self.pipeline.get_by_name("out"), threading.Lock()

    def key_frame(self):
        event = GstVideo.video_event_new_upstream_force_key_unit(Gst.CLOCK_TIME_NONE, True, 0)
        self.pipeline.get_by_name("coder").get_static_pad("src").send_event(event)

    def answer(self, offer):
        with self.lock:
            return Viewer(self, offer).answer


def handler(stage):
    class Handler(http.server.BaseHTTPRequestHandler):
        def give(self, status, kind, body):
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            if self.path == "/":
                self.give(200, "text/html; charset=utf-8", PAGE)
            else:
                self.give(404, "text/plain", b"there is one page, at /\n")

        def do_POST(self):
            length = self.headers.get("Content-Length", "")
            if self.path != "/offer" or not length.isdigit() or int(length) > LARGEST_OFFER:
                return self.give(400, "text/plain", b"POST /offer, with an offer of SDP\n")
            try:
                answer = stage.answer(self.rfile.read(int(length)).decode(errors="replace"))
            except Refused as error:
                return self.give(422, "text/plain", f"{error}\n".encode())
            self.give(200, "application/sdp", answer.encode())

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", nargs="?", help="rtsp://camera/stream, /dev/videoN or a file")
    parser.add_argument("--port", type=int, default=8090, help="0 takes any that is free")
    parser.add_argument("--address", default="127.0.0.1", help="0.0.0.0 for all networks")
    given = parser.parse_args()
    Gst.init(None)
    for element in ("uretinexenhance", "webrtcbin", "nicesrc", "x264enc"):
        if not Gst.ElementFactory.find(element):
            sys.exit(f"webrtc.py: GStreamer does not know {element}: see the packages at the top of this file")
    stage = Stage(given.source)
    loop, failed = GLib.MainLoop(), []

    def on_message(_bus, message):
        if message.type == Gst.MessageType.ERROR:
            failed.append(message.parse_error()[0].message)
        if message.type in (Gst.MessageType.ERROR, Gst.MessageType.EOS):
            loop.quit()

    bus = stage.pipeline.get_bus()
    bus.add_signal_watch()
    bus.connect("message", on_message)
    server = http.server.ThreadingHTTPServer((given.address, given.port), handler(stage))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    stage.pipeline.set_state(Gst.State.PLAYING)
    print(f"ready: http://{given.address}:{server.server_port}", flush=True)
    try:
        loop.run()
    except KeyboardInterrupt:
        pass
    stage.pipeline.set_state(Gst.State.NULL)
    if failed:
        sys.exit(f"webrtc.py: {failed[0]}")


if __name__ == "__main__":
    main()
