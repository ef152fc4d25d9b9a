// Stands between the conformance suite, which knows of no token, and the gate: adds the token and forwards everything else
// as it came, Host and Origin too.
//
// usage: node shim.mjs, then one line {"target":"HOST:PORT","token":"..."} on its standard input, with which it ends. It
// prints {"ready":"http://127.0.0.1:PORT"}.
import http from 'node:http';
import { createInterface } from 'node:readline';

const lines = createInterface({ input: process.stdin });
lines.once('line', (line) => {
  const { target, token } = JSON.parse(line);
  const [host, port] = target.split(':');
  const server = http.createServer((request, response) => {
    const headers = [...request.rawHeaders, 'Authorization', `Bearer ${token}`];
    const onward = http.request({ host, port, method: request.method, path: request.url, headers, setHost: false });
    onward.on('response', (answer) => {
      response.writeHead(answer.statusCode, answer.rawHeaders);
      // The suite waits for the head of a stream that says nothing yet.
      response.flushHeaders();
      answer.pipe(response);
      answer.on('error', () => response.destroy());
    });
    onward.on('error', () => response.destroy());
    response.on('close', () => onward.destroy());
    request.pipe(onward);
  });
  server.requestTimeout = 0;
  server.listen(0, '127.0.0.1', () => {
    process.stdout.write(`${JSON.stringify({ ready: `http://127.0.0.1:${server.address().port}` })}\n`);
  });
});
lines.on('close', () => process.exit());
