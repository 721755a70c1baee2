// A file of its own, since the page's content policy forbids scripts within the page.
// The key, if the server needs one, is kept in this script's memory and nowhere else.
const form = document.getElementById("key-form");
const input = document.getElementById("key");
const button = document.getElementById("open");
const message = document.getElementById("message");

// Swagger UI has a dark style, which this class of the document turns on.
const dark = matchMedia("(prefers-color-scheme: dark)");
const followScheme = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", followScheme);
followScheme();

// Return the text of an error that the server, or a proxy before it, has answered with.
async function errorOf(answer) {
  const text = await answer.text();
  try {
    return JSON.parse(text).error || text;
  } catch {
    return answer.statusText;
  }
}

function showApi(spec, headers) {
  form.remove();
  message.textContent = "";
  SwaggerUIBundle({
    dom_id: "#api",
    spec,
    deepLinking: true,
    defaultModelsExpandDepth: 0, // the list of schemas is long, and few readers need it
    validatorUrl: null,
    requestInterceptor: (request) => {
      request.headers = { ...headers, ...request.headers };
      return request;
    },
  });
}

// Fetch the description with these headers; show it, or ask for a key, or say what is wrong.
async function load(headers) {
  const hasKey = "X-API-Key" in headers;
  try {
    const answer = await fetch("openapi.json", { headers });
    if (answer.ok) {
      showApi(await answer.json(), headers);
      return;
    }
    if (answer.status === 401 && hasKey) {
      message.textContent =
        "The server does not know this key. Check that it is complete, or ask the administrator for another one.";
    } else if (answer.status !== 401) {
      message.textContent = `The server answered with status ${answer.status}: ${await errorOf(answer)}`;
    }
    form.hidden = !hasKey && answer.status !== 401;
  } catch (error) {
    message.textContent = `The server could not be reached: ${error.message}. Check that it still runs, then reload this page.`;
  }
  input.focus();
  input.select();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  message.textContent = "";
  const key = input.value.trim();
  if (!/^[\x21-\x7e]+$/.test(key)) {
    message.textContent = "A key consists of ASCII characters without spaces. Check what was pasted.";
    return;
  }
  button.disabled = true;
  await load({ "X-API-Key": key });
  button.disabled = false;
});

load({});
