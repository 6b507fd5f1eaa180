// Calls /v1 with OpenAI's Node client and prints what it got as one JSON object.
import OpenAI from "openai";

const [baseURL, apiKey, image] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });

const plain = await client.embeddings.create({ model: "solomon", input: ["one", "two"] });
const short = await client.embeddings.create({
  model: "solomon",
  input: "one",
  dimensions: 8,
  encoding_format: "float",
});
const pictured = await client.embeddings.create({
  model: "solomon",
  input: [{ text: "what?", image }],
  input_type: "document",
});
const models = [];
for await (const model of client.models.list()) models.push(model.id);

let refused = null;
try {
  await client.embeddings.create({ model: "text-embedding-3-small", input: "one" });
} catch (error) {
  refused = { kind: error.constructor.name, code: error.code };
}

console.log(
  JSON.stringify({
    plain: plain.data.map((entry) => entry.embedding),
    short: short.data[0].embedding.length,
    pictured: pictured.data[0].embedding.length,
    models,
    refused,
  }),
);
