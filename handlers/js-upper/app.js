// Says each text louder: `shop/7/say` as `shop/7/say/loud`, or to where the answer is wanted.

export function handle(message) {
  let text;
  try {
    text = new TextDecoder('utf-8', { fatal: true }).decode(message.payload);
  } catch {
    throw { tag: 'reject', val: 'payload is not UTF-8' };
  }
  return [
    {
      topic: message.responseTopic ?? `${message.topic}/loud`,
      payload: new TextEncoder().encode(text.toUpperCase()),
      qos: 0,
      retain: false,
      contentType: 'text/plain',
      correlationData: message.correlationData,
      userProperties: [['attempt', `${message.attempt}`]],
    },
  ];
}
