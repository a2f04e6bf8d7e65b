// Conversations in IndexedDB: pictures do not fit into local storage. Without it, memory must do.

const NAME = "llamaswap";
const STORE = "conversations";

const memory = new Map<string, unknown>();
let opened: Promise<IDBDatabase | null> | undefined;

function database(): Promise<IDBDatabase | null> {
  return (opened ??= new Promise((resolve) => {
    let request: IDBOpenDBRequest;
    try {
      request = indexedDB.open(NAME, 1);
    } catch {
      return resolve(null);
    }
    request.addEventListener("upgradeneeded", () => request.result.createObjectStore(STORE));
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => resolve(null));
  }));
}

async function run<T>(mode: IDBTransactionMode, work: (store: IDBObjectStore) => IDBRequest<T>): Promise<T | undefined> {
  const db = await database();
  if (!db) return undefined;
  return new Promise((resolve) => {
    const request = work(db.transaction(STORE, mode).objectStore(STORE));
    request.addEventListener("success", () => resolve(request.result));
    request.addEventListener("error", () => resolve(undefined));
  });
}

export async function save(key: string, value: unknown): Promise<void> {
  memory.set(key, value);
  await run("readwrite", (store) => store.put(value, key));
}

export async function load(key: string): Promise<unknown> {
  return (await run("readonly", (store) => store.get(key))) ?? memory.get(key);
}

export async function remove(key: string): Promise<void> {
  memory.delete(key);
  await run("readwrite", (store) => store.delete(key));
}

export async function keys(): Promise<string[]> {
  const found = await run("readonly", (store) => store.getAllKeys());
  return [...new Set([...(found ?? []).map(String), ...memory.keys()])];
}
