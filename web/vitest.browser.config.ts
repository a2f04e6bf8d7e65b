import { defineConfig } from "vitest/config";

// One browser and one program for all files: they are shared through module scope.
export default defineConfig({
  test: {
    include: [process.env["SCREENSHOTS"] ? "e2e/screenshots.shots.ts" : process.env["MEASURE"] ? "e2e/budgets.measure.ts" : "e2e/**/*.e2e.ts"],
    environment: "node",
    fileParallelism: false,
    isolate: false,
    pool: "forks",
    maxWorkers: 1,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    globalSetup: ["e2e/setup.ts"],
  },
});
