// Posts bodies of zeros with Node's fetch and prints each status, or the error.
// Arguments: URL, number of requests, size of a body in bytes.

const [url, count, size] = process.argv.slice(2);
const body = Buffer.alloc(Number(size));
for (let sent = 0; sent < Number(count); sent++) {
  try {
    const response = await fetch(url, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body,
    });
    await response.text();
    console.log(`${response.status} ${response.headers.get("Retry-After") ?? "-"}`);
  } catch (error) {
    console.log(`${error} ${error.cause ?? ""}`);
  }
}
