// Shows the API's description. A token that is typed in is kept in this page's memory alone.
SwaggerUIBundle({
  url: 'openapi.json',
  dom_id: '#page',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  persistAuthorization: false,
  validatorUrl: null, // nobody elsewhere is asked about it
});
