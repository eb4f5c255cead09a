"""An RTSP camera on loopback, by GStreamer's RTSP server: a program of the system's Python.

    /usr/bin/python3 gstreamer_server.py PORT WIDTH HEIGHT [--user NAME:PASSWORD]

Debian: gir1.2-gst-rtsp-server-1.0 python3-gi gstreamer1.0-plugins-{base,good,ugly}. It prints the
port once it listens (0: any that is free) and shows `/cam` (H.264) and `/mjpeg` until it is ended.
"""

import argparse

import gi  # type: ignore[import-not-found,unused-ignore]

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found,unused-ignore]  # noqa: E402
    GLib,
    Gst,
    GstRtspServer,
)

SCENE = "videotestsrc is-live=true pattern=ball ! video/x-raw,width={},height={},framerate=25/1"
STREAMS = {
    "/cam": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=10 ! rtph264pay "
    "config-interval=-1 name=pay0 pt=96",
    "/mjpeg": "videoconvert ! video/x-raw,format=I420 ! jpegenc ! rtpjpegpay name=pay0 pt=26",
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("port")
    parser.add_argument("width", type=int)
    parser.add_argument("height", type=int)
    parser.add_argument("--user")
    arguments = parser.parse_args()
    Gst.init(None)
    server = GstRtspServer.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(arguments.port)
    scene = SCENE.format(arguments.width, arguments.height)
    for path, rest in STREAMS.items():
        factory = GstRtspServer.RTSPMediaFactory.new()
        factory.set_launch(f"( {scene} ! {rest} )")
        factory.set_shared(True)
        if arguments.user:
            factory.set_permissions(viewers())
        server.get_mount_points().add_factory(path, factory)
    if arguments.user:
        server.set_auth(only(*arguments.user.split(":")))
    server.attach(None)
    print(server.get_bound_port(), flush=True)
    GLib.MainLoop().run()


def viewers():  # type: ignore[no-untyped-def,unused-ignore]
    permissions = GstRtspServer.RTSPPermissions()
    for what in ("access", "construct"):
        permissions.add_permission_for_role("viewer", f"media.factory.{what}", True)
    return permissions


def only(user: str, password: str):  # type: ignore[no-untyped-def,unused-ignore]
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth.new()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    return auth


if __name__ == "__main__":
    main()
