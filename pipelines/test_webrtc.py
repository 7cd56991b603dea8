#!/usr/bin/python3
"""A viewer of webrtc.py, as a browser is one: test.sh calls it.

    pipelines/test_webrtc.py view | refuse
"""

import os
import pathlib
import re
import subprocess
import sys
import threading
import urllib.error
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import Gst, GstSdp, GstWebRTC  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
PATIENCE = 60
H264 = (
    "application/x-rtp,media=video,encoding-name=H264,clock-rate=90000,payload={},"
    "packetization-mode=(string)1,profile-level-id=(string)42e01f"
)


def server(*words):
    process = subprocess.Popen(
        [sys.executable, HERE / "webrtc.py", "--port", "0", *words], stdout=subprocess.PIPE, text=True,
        env={"ENHANCE": "uretinexenhance ratio=6"} | os.environ,
    )
    return process, re.match("ready: (.*)", process.stdout.readline())[1]


def post(url, body):
    with urllib.request.urlopen(urllib.request.Request(f"{url}/offer", body.encode()), timeout=PATIENCE) as answer:
        return answer.read().decode()


def wait(promise):
    promise.wait()
    return promise.get_reply()


class Browser:
    """Frames that a viewer sees, by webrtcbin on the other side."""

    def __init__(self, url, payload):
        self.frames, self.enough, self.sum = 0, threading.Event(), 0
        self.pipeline, peer = Gst.Pipeline.new(), Gst.ElementFactory.make("webrtcbin")
        peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
        self.pipeline.add(peer)
        peer.connect("pad-added", self.on_pad)
        self.pipeline.set_state(Gst.State.PLAYING)
        peer.emit("add-transceiver", GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY, Gst.Caps.from_string(H264.format(payload)))
        promise = Gst.Promise.new()
        peer.emit("create-offer", None, promise)
        reply = wait(promise)  # It holds the offer.
        offer = reply.get_value("offer")
        gathered = threading.Event()

        def on_gathering(*_):
            if peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
                gathered.set()

        peer.connect("notify::ice-gathering-state", on_gathering)
        promise = Gst.Promise.new()
        peer.emit("set-local-description", offer, promise)
        wait(promise)
        assert gathered.wait(PATIENCE)
        text = post(url, peer.get_property("local-description").sdp.as_text())
        assert f"a=rtpmap:{payload} H264/90000" in text and "sendonly" in text, text
        _, answer = GstSdp.SDPMessage.new_from_text(text)
        promise = Gst.Promise.new()
        description = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, answer)
        peer.emit("set-remote-description", description, promise)
        wait(promise)

    def on_pad(self, _peer, pad):
        words = "rtph264depay ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8 ! fakesink name=out signal-handoffs=true sync=false"
        sink = Gst.parse_bin_from_description(words, True)
        self.pipeline.add(sink)
        sink.get_by_name("out").connect("handoff", self.on_frame)
        pad.link(sink.get_static_pad("sink"))
        sink.sync_state_with_parent()

    def on_frame(self, _sink, buffer, _pad):
        data = buffer.extract_dup(0, buffer.get_size())
        self.frames += 1
        self.sum += sum(data) / len(data)
        if self.frames == 10:
            self.enough.set()

    def close(self):
        self.pipeline.set_state(Gst.State.NULL)


def view():
    process, url = server()
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as page:
            assert b"RTCPeerConnection" in page.read()
        # Browsers give H.264 the numbers that they like.
        for payload in (102, 96):
            browser = Browser(url, payload)
            assert browser.enough.wait(PATIENCE), f"{browser.frames} frames"
            print(f"payload {payload}: {browser.frames} frames, mean {browser.sum / browser.frames:.0f}")
            assert browser.sum / browser.frames > 60, "no brighter than the test picture"
            browser.close()
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


def refuse():
    process, url = server()
    try:
        for body, part in (("", "no H.264"), ("a=rtpmap:96 VP8/90000", "no H.264"), ("x" * 70_000, "POST /offer")):
            try:
                post(url, body)
            except urllib.error.HTTPError as error:
                assert part in error.read().decode(), body[:40]
            else:
                raise AssertionError(body[:40])
        assert process.poll() is None
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    Gst.init(None)
    {"view": view, "refuse": refuse}[sys.argv[1]]()
