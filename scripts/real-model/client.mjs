// The npm `openai` client against the engine and through the gateway, the same request both times.
// Prints one JSON object a line; clients.py holds the two texts against each other.

import { createRequire } from "node:module";
import process from "node:process";

const require = createRequire(`${process.env.NODE_FOLDER}/`);
const { OpenAI } = require("openai");

const MODEL = "tiny-llama";
const PROMPT = "Tell me about the gateway.";
const TOKENS = 80;
const SEED = 77;

const direct = new OpenAI({ baseURL: `${process.env.ENGINE_URL}/v1`, apiKey: "-", maxRetries: 0 });
const gateway = new OpenAI({
  baseURL: `${process.env.PENSTOCK_URL}/v1`,
  apiKey: process.env.PENSTOCK_TOKEN,
  maxRetries: 0,
});

const chat = (stream) => ({
  model: MODEL,
  seed: SEED,
  max_tokens: TOKENS,
  stream,
  messages: [{ role: "user", content: PROMPT }],
});
const responses = (stream) => ({
  model: MODEL,
  seed: SEED,
  max_output_tokens: TOKENS,
  stream,
  input: PROMPT,
});

// Each way gives the pieces in which the text came.
const ways = {
  chat: async (client) => {
    const answer = await client.chat.completions.create(chat(false));
    return [answer.choices[0].message.content];
  },
  "chat, streamed": async (client) => {
    const pieces = [];
    for await (const chunk of await client.chat.completions.create(chat(true))) {
      const piece = chunk.choices[0]?.delta?.content;
      if (piece) pieces.push(piece);
    }
    return pieces;
  },
  responses: async (client) => {
    const answer = await client.responses.create(responses(false));
    return [answer.output_text];
  },
  "responses, streamed": async (client) => {
    const pieces = [];
    for await (const event of await client.responses.create(responses(true))) {
      if (event.type === "response.output_text.delta") pieces.push(event.delta);
    }
    return pieces;
  },
};

for (const [name, way] of Object.entries(ways)) {
  const said = await way(direct);
  const came = await way(gateway);
  const line = { name, direct: said.join(""), gateway: came.join(""), pieces: came.length };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}
