// What both TypeScript clients do with every feature of the protocol; their findings go out as one JSON line.
//
// It never touches the protocol itself. A plan is {"url","token","mode"}; without a token the client calls a server
// itself, with one it calls through the gate. What fails stands in the findings as {"failed":{"code"}}, so that
// two runs can be compared field by field.

export const CLIENT = { name: 'features', version: '0' };
export const CAPABILITIES = { elicitation: {}, roots: { listChanged: true }, sampling: {} };
const WATCHED = 'test://watched-resource';

/** What a transport is made with. */
export const options = ({ token }) => (token ? { requestInit: { headers: { authorization: `Bearer ${token}` } } } : {});

/** What the person and the model answer, by method. */
export const ANSWERS = {
  'elicitation/create': ({ params }) => ({ action: 'accept', content: filled(params.requestedSchema.properties) }),
  'roots/list': () => ({ roots: [{ uri: 'file:///work', name: 'work' }] }),
  'sampling/createMessage': ({ params }) => ({
    role: 'assistant', model: 'm', stopReason: 'endTurn',
    content: { type: 'text', text: `said to ${params.messages[0].content.text}` },
  }),
};

/** A value for each field of a form. */
function filled(fields) {
  const value = ({ type, default: given, ...rest }) => {
    if (given !== undefined) return given;
    if (type === 'array') return (rest.items.enum ?? rest.items.anyOf.map((one) => one.const)).slice(0, 1);
    if (type === 'boolean') return true;
    if (type === 'integer' || type === 'number') return 7;
    return rest.enum?.[0] ?? rest.oneOf?.[0].const ?? 'a text';
  };
  return Object.fromEntries(Object.entries(fields).map(([name, field]) => [name, value(field)]));
}

/** Resolves once `reached` holds, or gives up; it is asked again at each notification. */
function waiter() {
  const waiting = new Set();
  const until = (reached) => new Promise((resolve) => {
    const ask = () => reached() && (waiting.delete(ask), clearTimeout(late), resolve(true));
    const late = setTimeout(() => (waiting.delete(ask), resolve(false)), 5000);
    waiting.add(ask);
    ask();
  });
  return { until, noticed: () => [...waiting].forEach((ask) => ask()) };
}

/** Goes through everything with a connected client; `sdk` has what the SDKs name differently. */
export async function tour(plan, sdk) {
  const found = {};
  const heard = [];
  const { until, noticed } = waiter();
  const client = await sdk.connect((method, params) => {
    heard.push({ method, params });
    noticed();
  });
  const modern = sdk.negotiated() === '2026-07-28';
  const attempt = async (name, deed) => {
    try {
      found[name] = (await deed()) ?? null;
    } catch (error) {
      found[name] = { failed: { class: error.constructor.name, code: error.code ?? null } };
    }
  };
  const call = (name, given = {}, more = {}) => sdk.call({ name, arguments: given }, more);

  found.negotiated = sdk.negotiated();
  found.capabilities = client.getServerCapabilities();
  await attempt('tools', async () => (await client.listTools()).tools);
  await attempt('prompts', async () => (await client.listPrompts()).prompts);
  await attempt('resources', async () => (await client.listResources()).resources);
  await attempt('templates', async () => (await client.listResourceTemplates()).resourceTemplates);

  for (const name of [
    'test_simple_text', 'test_image_content', 'test_audio_content', 'test_embedded_resource', 'test_resource_link',
    'test_multiple_content_types', 'test_structured_content', 'test_error_handling', 'no_such_tool', 'test_roots',
    'test_elicitation_sep1034_defaults', 'test_elicitation_sep1330_enums', 'test_missing_capability', 'test_ping',
    'test_input_required_result_elicitation', 'test_input_required_result_multiple_inputs',
    'test_input_required_result_multi_round', 'test_input_required_result_request_state',
  ]) await attempt(name, () => call(name));
  await attempt('test_sampling', () => call('test_sampling', { prompt: 'hello' }));
  await attempt('test_elicitation', () => call('test_elicitation', { message: 'who?' }));
  await attempt('test_headers', () => call('test_headers', { region: 'Zürich west', limit: 10, dry_run: false }));

  await attempt('simple_prompt', () => client.getPrompt({ name: 'test_simple_prompt' }));
  await attempt('prompt_with_arguments', () => client.getPrompt({
    name: 'test_prompt_with_arguments', arguments: { arg1: 'one', arg2: 'two' },
  }));
  await attempt('prompt_with_resource', () => client.getPrompt({
    name: 'test_prompt_with_embedded_resource', arguments: { resourceUri: WATCHED },
  }));
  await attempt('prompt_with_image', () => client.getPrompt({ name: 'test_prompt_with_image' }));
  await attempt('prompt_that_asks', () => client.getPrompt({ name: 'test_input_required_result_prompt' }));
  await attempt('no_such_prompt', () => client.getPrompt({ name: 'no_such_prompt' }));
  for (const uri of [
    'test://static-text', 'test://static-binary', 'test://template/7/data', 'test://asks-first', 'test://nothing',
  ]) await attempt(uri, () => client.readResource({ uri }));
  await attempt('completion', () => client.complete({
    ref: { type: 'ref/prompt', name: 'test_prompt_with_arguments' }, argument: { name: 'arg1', value: 'par' },
  }));
  await attempt('completion_of_template', () => client.complete({
    ref: { type: 'ref/resource', uri: 'test://template/{id}/data' }, argument: { name: 'id', value: 't' },
  }));

  const progress = [];
  await attempt('progress', async () => ({
    result: await call('test_tool_with_progress', {}, { onprogress: (one) => progress.push(one) }), progress,
  }));
  if (!modern) await attempt('level', () => client.setLoggingLevel('info'));
  await attempt('logging', async () => {
    const wanted = modern ? { _meta: { 'io.modelcontextprotocol/logLevel': 'info' } } : {};
    const result = await sdk.call({ name: 'test_tool_with_logging', arguments: {}, ...wanted }, {});
    const messages = () => heard.filter((one) => one.method === 'notifications/message');
    return { result, came: await until(() => messages().length >= 3), messages: messages() };
  });

  await attempt('cancellation', async () => {
    const stop = new AbortController();
    const begun = [];
    return call('test_slow', {}, { signal: stop.signal, onprogress: (one) => (begun.push(one), stop.abort('enough')) });
  });

  await attempt('subscription', async () => {
    const updates = () => heard.filter((one) => one.method === 'notifications/resources/updated');
    const subscription = modern
      ? await client.listen({ resourceSubscriptions: [WATCHED], toolsListChanged: true })
      : await client.subscribeResource({ uri: WATCHED });
    await call('test_trigger_resource_update', { uri: 'test://static-text' });
    await call('test_trigger_resource_update', { uri: WATCHED });
    await call('test_trigger_tool_change');
    const changes = () => heard.filter((one) => one.method === 'notifications/tools/list_changed');
    const came = await until(() => updates().length >= 1 && changes().length >= 1);
    if (modern) await subscription.close();
    else await client.unsubscribeResource({ uri: WATCHED });
    return { came, honored: modern ? subscription.honoredFilter : null, updates: updates().length, changes: changes().length };
  });

  await client.close();
  process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit());
}
