// Preload for node upstreams (`node --import ./preload.mjs ...`): keeps a server on loopback, tells its port, records heads.
//
// It prints {"ready":"http://127.0.0.1:PORT"} once a server listens and appends each request's method, path and raw headers
// as one JSON line to the file that $CAPTURE names. It never changes a request or an answer, and it
// ends the process with its standard input.
import { appendFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';

process.stdin.resume().on('end', () => process.exit());

const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function onLoopback(port, ...rest) {
  this.once('listening', () => {
    process.stdout.write(`${JSON.stringify({ ready: `http://127.0.0.1:${this.address().port}` })}\n`);
  });
  return listen.call(this, { port: Number(port), host: '127.0.0.1' }, ...rest.filter((one) => typeof one === 'function'));
};

const emit = http.Server.prototype.emit;
http.Server.prototype.emit = function recorded(event, request, ...rest) {
  if (event === 'request') {
    const { method, url: path, rawHeaders } = request;
    const headers = [];
    for (let at = 0; at < rawHeaders.length; at += 2) headers.push([rawHeaders[at], rawHeaders[at + 1]]);
    appendFileSync(process.env.CAPTURE, `${JSON.stringify({ method, path, headers })}\n`);
  }
  return emit.call(this, event, request, ...rest);
};
