// What scripted streams tell.
import type { Stage } from "./stage";

export const model = (id: string, state = "stopped", more: Record<string, unknown> = {}) => ({ id, name: "", description: "", state, unlisted: false, peerID: "", ...more });
export const flight = (id: string, name: string, more: Record<string, unknown> = {}) => ({ id, timestamp: new Date().toISOString(), model: name, req_path: "/v1/chat/completions", method: "POST", req_headers: {}, remote_ip: "127.0.0.1", resp_headers: {}, resp_bytes: 0, elapsed_ms: 0, ...more });

export function script(stage: Stage, models: unknown[], requests: unknown[] = []): void {
  stage.events = "scripted";
  stage.opening = [
    ["modelStatus", models],
    ["uiConfig", { activity: { session_id: ["X-Session-ID"] } }],
    ["profileChanged", { active: null }],
    ["inflight", { operation: "snapshot", requests }],
  ];
}

export const row = (id: number, more: Record<string, unknown> = {}) => ({
  id, timestamp: new Date(Date.now() - (1000 - id) * 1000).toISOString(), model: "m", req_path: "/v1/chat/completions", resp_content_type: "application/json", resp_status_code: 200,
  tokens: { cache_tokens: -1, draft_tokens: -1, draft_acc_tokens: -1, input_tokens: 10, output_tokens: 20, prompt_per_second: 100, tokens_per_second: 50 }, duration_ms: 1200, has_capture: false, ...more,
});
