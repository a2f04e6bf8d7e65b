import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

/** How many times as slow as it is the page's processor shall be: to see what depends on its speed. */
const slow = Number(process.env["LLAMASWAP_UI_THROTTLE"] ?? 1);
const checks = !process.env["SCREENSHOTS"] && !process.env["MEASURE"];

// Each worker has one browser and one program for all its files: they are shared through module scope.
export default defineConfig({
  test: {
    include: [process.env["SCREENSHOTS"] ? "e2e/screenshots.shots.ts" : process.env["MEASURE"] ? "e2e/budgets.measure.ts" : "e2e/**/*.e2e.ts"],
    environment: "node",
    isolate: false,
    pool: "forks",
    maxWorkers: checks ? Math.min(2, availableParallelism()) : 1,
    // far above what any check takes: a busy machine fails none
    testTimeout: 120_000 * slow,
    hookTimeout: 120_000,
    globalSetup: ["e2e/setup.ts"],
  },
});
