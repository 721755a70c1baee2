// Apart from the page, so that the page needs no script within it, which its policy forbids.
SwaggerUIBundle({ url: "openapi.json", dom_id: "#api", validatorUrl: null });
