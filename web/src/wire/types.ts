// What travels between server and page. `?` = may be absent; unknown fields are ignored.

export type ModelState = "stopped" | "starting" | "ready" | "stopping" | "shutdown" | "" | "unknown";

export interface LastError {
  at?: string;
  kind?: string;
  exit_code?: number;
  message: string;
}

export interface Model {
  id: string;
  name: string;
  description: string;
  state: ModelState;
  unlisted: boolean;
  peerID: string;
  aliases: string[];
  capabilities: Record<string, boolean>;
  context_length: number;
  since?: string;
  ttl_s?: number;
  ttl_expires?: string;
  last_used?: string;
  port?: number;
  pid?: number;
  vram_mb?: number;
  rss_mb?: number;
  load_ms_p50?: number;
  queued?: number;
  last_error?: LastError;
  group?: string;
  sets?: string[];
}

export interface ListRecord {
  id: string;
  name: string;
  description: string;
  type: "model" | "alias" | "peer" | "selector" | "profile";
  loaded: boolean;
  capabilities: Record<string, boolean>;
  context_length: number;
  aliases: string[];
  modelID: string;
  peerID: string;
  strategy: string;
  targets: string[];
  spillover: number;
}

export interface Profile {
  id: string;
  description: string;
  pins: Record<string, string>;
}
export interface Profiles {
  active: string | null;
  profiles: Profile[];
}

export interface Tokens {
  cache_tokens: number;
  draft_tokens: number;
  draft_acc_tokens: number;
  input_tokens: number;
  output_tokens: number;
  prompt_per_second: number;
  tokens_per_second: number;
}

export interface Activity {
  id: number;
  timestamp: string;
  model: string;
  req_path: string;
  resp_content_type: string;
  resp_status_code: number;
  tokens: Tokens;
  duration_ms: number;
  has_capture: boolean;
  error_msg: string;
  metadata: Record<string, string>;
}
export interface ActivityPage {
  data: Activity[];
  page: number;
  limit: number;
  total: number;
  total_pages: number;
}

export interface Histogram {
  bins: number[];
  min: number;
  max: number;
  binSize: number;
  p50: number;
  p95: number;
  p99: number;
}
export interface Stats {
  total_requests: number;
  total_input_tokens: number;
  total_output_tokens: number;
  total_cache_tokens: number;
  prompt_histogram: Histogram | null;
  gen_histogram: Histogram | null;
}

export interface Inflight {
  id: string;
  timestamp: string;
  model: string;
  req_path: string;
  method: string;
  req_headers: Record<string, string>;
  remote_ip: string;
  resp_headers: Record<string, string>;
  resp_bytes: number;
  elapsed_ms: number;
  metadata: Record<string, string>;
  /** Monotonic time of arrival here, ms: what an elapsed counter counts on from. */
  received_at: number;
}

export interface Capture {
  id: number;
  req_path: string;
  req_headers: Record<string, string> | null;
  req_body: string | null;
  resp_headers: Record<string, string> | null;
  resp_body: string | null;
}

export interface SysStat {
  timestamp: string;
  cpu_util_per_core: number[];
  mem_total_mb: number;
  mem_used_mb: number;
  swap_total_mb: number;
  swap_used_mb: number;
  load_avg_1: number;
  load_avg_5: number;
  load_avg_15: number;
  net_io: { name: string; bytes_recv: number; bytes_sent: number }[];
}
export interface GpuStat {
  timestamp: string;
  id: number;
  name: string;
  uuid: string;
  temp_c: number | null;
  vram_temp_c: number | null;
  gpu_util_pct: number | null;
  mem_util_pct: number | null;
  mem_used_mb: number | null;
  mem_total_mb: number | null;
  fan_speed_pct: number | null;
  power_draw_w: number | null;
}
export interface Performance {
  sys_stats: SysStat[];
  gpu_stats: GpuStat[];
}

export interface Accelerator {
  kind: string;
  vendor: string | null;
  model: string | null;
  architecture: string | null;
  memoryKind: string;
  memoryBytes: number | null;
  driver: string | null;
  power_limit_watts: number | null;
}
export interface Hardware {
  captured_at: string;
  architecture: string | null;
  os: string | null;
  kernel: string | null;
  environment: string | null;
  cpu: { vendor: string | null; model: string | null; sockets: number | null; cores: number | null; threads: number | null };
  memoryBytes: number | null;
  accelerators: Accelerator[];
}

/** One decision of the scheduler: a swap, a hold or a closed gate, and why. */
export interface Decision {
  time: string;
  model: string;
  evicted: string[];
  reason: string;
  waiters: number;
  oldest_wait: number;
  estimate: number;
  kind: string;
}

/** One lifecycle event: load, unload, fail, reload. */
export interface Transition {
  at: string;
  model: string;
  state: string;
  reason?: string;
}

export interface Version {
  version: string;
  commit: string;
  build_date: string;
}

export interface EventMessage {
  type: string;
  data: string;
}
