"""Usage: client.py NAME. Copies standard input to a service, and its answer to standard output."""
import json, os, socket, sys

def connect(name, timeout=10.0):
    run = os.environ.get("IPC_RUNDIR", "/run/ipc")
    wishes = os.environ.get("IPC_NETWORK", "").replace("\n", ";").split(";")
    wishes = ";".join(w for w in wishes if w.split(None, 1)[:1] == [name])
    parameters = {"service": name, "network": wishes or None, "timeoutMs": int(timeout * 1000),
                  "take": ["upgrade", "door", "descriptor"]}
    broker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    broker.settimeout(timeout + 0.5)
    broker.connect(run + "/ipc")
    call = {"method": "org.ipcd.Broker.Connect", "parameters": parameters, "upgrade": True}
    broker.sendall(json.dumps(call).encode() + b"\0")
    message, descriptors = b"", []
    while not message.endswith(b"\0"):  # up to the NUL: what follows it is the service's
        seen = broker.recv(65536, socket.MSG_PEEK)
        if not seen:
            raise ConnectionError("the broker closed the connection")
        data, fds, _, _ = socket.recv_fds(broker, seen.find(b"\0") + 1 or len(seen), 1)
        message, descriptors = message + data, descriptors + fds
    reply = json.loads(message[:-1])
    if "error" in reply:
        raise PermissionError(reply["error"] + " " + json.dumps(reply["parameters"]))
    stream = broker
    if reply["parameters"]["handoff"] == "descriptor":
        stream = socket.socket(fileno=descriptors[0])
    elif reply["parameters"]["handoff"] == "door":
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.connect(f"/proc/self/fd/{descriptors[0]}")
        os.close(descriptors[0])
    stream.settimeout(None)
    return stream

if __name__ == "__main__":
    stream = connect(sys.argv[1])
    stream.sendall(sys.stdin.buffer.read())
    stream.shutdown(socket.SHUT_WR)
    while data := stream.recv(65536):
        sys.stdout.buffer.write(data)
