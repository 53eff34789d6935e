"use strict";
// Only this origin is asked. Headers (a token, perhaps) are not kept in the browser's storage.
(function () {
  const shared = new URLSearchParams(window.location.hash.slice(1)).get("query");
  const tabs = window.KRM_EXAMPLES.map((query) => ({ query: query }));
  if (shared) {
    tabs.unshift({ query: shared });
  }
  const url = new URL("graphql", document.baseURI).href;
  const fetcher = GraphiQL.createFetcher({ url: url, subscriptionUrl: url.replace(/^http/, "ws") });
  const page = React.createElement(GraphiQL, {
    fetcher: fetcher,
    plugins: [GraphiQLPluginExplorer.explorerPlugin()],
    defaultTabs: tabs,
    defaultEditorToolsVisibility: false,
    isHeadersEditorEnabled: true,
    shouldPersistHeaders: false,
  });
  ReactDOM.createRoot(document.getElementById("graphiql")).render(page);
})();
