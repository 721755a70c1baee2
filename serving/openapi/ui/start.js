// Apart from the page, so that the page needs no script within it, which its policy forbids.
// Where the server has keys the description needs one, too; it is kept by this page alone.
async function start() {
  let headers = {};
  let answer = await fetch("openapi.json");
  if (answer.status === 401) {
    headers = { "X-API-Key": prompt("This server asks for an API key") || "" };
    answer = await fetch("openapi.json", { headers });
  }
  SwaggerUIBundle({
    dom_id: "#api",
    spec: await answer.json(),
    validatorUrl: null,
    requestInterceptor: (request) => {
      request.headers = { ...headers, ...request.headers };
      return request;
    },
  });
}

start();
