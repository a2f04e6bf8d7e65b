import { describe, expect } from "vitest";
import { check } from "./harness";

describe("serving and routing", () => {
  check("UI-01", "/ leads to the Overview in few small files", async ({ page, stage, go }) => {
    await go("/");
    await page.getByRole("heading", { name: "Overview", level: 1 }).waitFor();
    expect(new URL(page.url()).pathname).toBe("/ui/");
    const files = stage.seen.filter((item) => item.path.startsWith("/ui/") && !item.path.endsWith("build.json"));
    expect(files.map((item) => item.path).length).toBeLessThanOrEqual(8);
  });
});
