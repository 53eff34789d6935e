import { readFileSync } from "node:fs";
import preact from "@preact/preset-vite";
import license, { type Dependency } from "rollup-plugin-license";
import { defineConfig } from "vite";

// The result goes into the Python package, as it is served: relative addresses, no inline script, names that stay.
export default defineConfig({
  base: "./",
  // The page is served at "/", what it loads below "static/ui/"; both may lie behind a prefix.
  experimental: {
    renderBuiltUrl: (name, { hostType }) => (hostType === "html" ? `static/ui/${name}` : { relative: true }),
  },
  plugins: [preact({ prefreshEnabled: false })],
  build: {
    outDir: "../krm/api/static/ui",
    emptyOutDir: true,
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    target: "es2022",
    rollupOptions: {
      plugins: [license({ thirdParty: { output: { file: "../krm/api/static/ui/LICENSES.txt", template: terms } } })],
      output: {
        entryFileNames: "page.js",
        chunkFileNames: "[name].js",
        assetFileNames: "page[extname]",
      },
    },
  },
});

/** Who made what is in page.js and page.css, and on which terms. */
function terms(dependencies: Dependency[]): string {
  const pico = readFileSync("node_modules/@picocss/pico/LICENSE.md", "utf8");
  const parts = dependencies.map(
    (each) => `${each.name} ${each.version} (${each.license})\n\n${each.licenseText ?? ""}`,
  );
  return (
    [...parts.sort(), `@picocss/pico (MIT)\n\n${pico}`].map((each) => each.trim()).join(`\n\n${"-".repeat(80)}\n\n`) +
    "\n"
  );
}
