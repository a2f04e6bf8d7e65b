// The small parts that every page is made of.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useLayoutEffect, useRef, useState } from "preact/hooks";
import { copy } from "../state/actions";
import { Icon } from "./icons";

type Tone = "ok" | "busy" | "bad" | "info" | "idle";

export interface ButtonProps {
  children?: ComponentChildren;
  kind?: "primary" | "quiet" | "danger" | "";
  icon?: string;
  /** The accessible name, and the tooltip, of a button that shows only its icon. */
  label?: string;
  small?: boolean;
  disabled?: boolean;
  /** Why it is disabled; shown as the tooltip. */
  reason?: string | undefined;
  pressed?: boolean;
  expanded?: boolean;
  type?: "button" | "submit";
  onClick?: (event: MouseEvent) => void;
  id?: string;
}

export function Button(props: ButtonProps) {
  const { children, kind = "", icon, label, small, disabled, reason, type = "button", onClick } = props;
  const only = !children;
  return (
    <button
      type={type}
      id={props.id}
      class={`button ${kind} ${small ? "small" : ""} ${only ? "icon-only" : ""}`}
      aria-label={label}
      title={reason ?? (only ? label : undefined)}
      aria-pressed={props.pressed}
      aria-expanded={props.expanded}
      disabled={disabled}
      onClick={onClick}
    >
      {icon && <Icon name={icon} />}
      {children}
    </button>
  );
}

export function CopyButton({ text, label = "Copy", small = true }: { text: string | (() => string); label?: string; small?: boolean }) {
  const [said, say] = useState("");
  const timer = useRef<ReturnType<typeof setTimeout> | undefined>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const onClick = async () => {
    const done = await copy(typeof text === "function" ? text() : text);
    say(done ? "Copied" : "Copy refused: select the text and press Ctrl+C");
    clearTimeout(timer.current);
    timer.current = setTimeout(() => say(""), 2000);
  };
  return (
    <Button small={small} icon="copy" onClick={() => void onClick()}>
      <span aria-live="polite">{said || label}</span>
    </Button>
  );
}

const MARKS: Record<string, JSX.Element> = {
  disc: <circle cx="6" cy="6" r="5" fill="currentColor" />,
  ring: <circle cx="6" cy="6" r="4.200" fill="none" stroke="currentColor" stroke-width="1.600" />,
  arc: <path d="M6 1.800A4.200 4.200 0 1 1 1.800 6" fill="none" stroke="currentColor" stroke-width="2" />,
  half: <path d="M6 1a5 5 0 0 0 0 10ZM6 1.800a4.200 4.200 0 0 1 0 8.400" fill="currentColor" stroke="currentColor" stroke-width=".8" />,
  triangle: <path d="M6 .8 11.600 11H.4Z" fill="currentColor" />,
  cross: <path d="M2 2l8 8M10 2l-8 8" stroke="currentColor" stroke-width="2" />,
  dash: <path d="M1.500 6h9" stroke="currentColor" stroke-width="2" />,
  diamond: <path d="M6 .6 11.400 6 6 11.400.6 6Z" fill="currentColor" />,
};

/** A state as shape and word; colour is the third sign only. */
export function State({ tone, mark, children, title }: { tone: Tone; mark: string; children: ComponentChildren; title?: string | undefined }) {
  return (
    <span class={`state ${tone}`} title={title}>
      <svg viewBox="0 0 12 12" aria-hidden="true" data-mark={mark}>
        {MARKS[mark]}
      </svg>
      {children}
    </span>
  );
}

export const Chip = ({ tone = "", children, title }: { tone?: string; children: ComponentChildren; title?: string }) => (
  <span class={`chip ${tone}`} title={title}>
    {children}
  </span>
);

export function Card({ title, children, actions, id }: { title?: ComponentChildren; children: ComponentChildren; actions?: ComponentChildren; id?: string }) {
  return (
    <section class="card" id={id} aria-label={typeof title === "string" ? title : undefined}>
      {title && (
        <header>
          <h2>{title}</h2>
          {actions && <div class="row wrap push">{actions}</div>}
        </header>
      )}
      {children}
    </section>
  );
}

export const Empty = ({ children }: { children: ComponentChildren }) => <div class="empty">{children}</div>;

export const Skeletons = ({ rows = 4, label = "Loading" }: { rows?: number; label?: string }) => (
  <div class="skeletons" role="status" aria-label={label}>
    {Array.from({ length: rows }, (_, i) => (
      <span key={i} class="skeleton" style={{ width: `${85 - ((i * 17) % 40)}%` }} />
    ))}
  </div>
);

export function ErrorNote({ text, retry, stale }: { text: string; retry?: () => void; stale?: boolean }) {
  return (
    <div class="notice" role="alert">
      <Icon name="warn" />
      <span>
        {text}
        {stale && " What is shown is from before."}
      </span>
      {retry && (
        <Button small onClick={retry}>
          Retry
        </Button>
      )}
    </div>
  );
}

export function Field({ label, children, error }: { label: string; children: ComponentChildren; error?: string | undefined }) {
  return (
    <label class="field">
      <span>{label}</span>
      {children}
      {error && <span class="error-line">{error}</span>}
    </label>
  );
}

/** A text field that tells its value when it is left or Enter is pressed; what is being typed survives redraws. */
export interface CommitInputProps {
  value: string;
  onCommit: (value: string) => void;
  invalid?: boolean;
  placeholder?: string;
  maxLength?: number;
  numeric?: boolean;
  /** What the key / goes to. */
  filter?: boolean;
}

export function CommitInput({ value, onCommit, invalid, placeholder, maxLength, numeric, filter }: CommitInputProps) {
  const [draft, setDraft] = useState<string | null>(null);
  return (
    <input
      aria-invalid={invalid}
      placeholder={placeholder}
      maxLength={maxLength}
      inputMode={numeric ? "numeric" : undefined}
      data-filter={filter}
      value={draft ?? value}
      onInput={(event) => setDraft(event.currentTarget.value)}
      onChange={(event) => {
        setDraft(null);
        onCommit(event.currentTarget.value);
      }}
    />
  );
}

export function Check({ label, checked, onChange, disabled }: { label: ComponentChildren; checked: boolean; onChange: (on: boolean) => void; disabled?: boolean }) {
  return (
    <label class="check">
      <input type="checkbox" checked={checked} disabled={disabled} onChange={(event) => onChange(event.currentTarget.checked)} />
      {label}
    </label>
  );
}

export function Segmented<T extends string>({ label, value, options, onChange }: { label: string; value: T; options: readonly (readonly [T, string])[]; onChange: (value: T) => void }) {
  return (
    <span class="segmented" role="group" aria-label={label}>
      {options.map(([key, text]) => (
        <button key={key} type="button" aria-pressed={key === value} onClick={() => onChange(key)}>
          {text}
        </button>
      ))}
    </span>
  );
}

export function Select({ value, options, onChange, label, disabled }: { value: string | number; options: readonly (readonly [string | number, string])[]; onChange: (value: string) => void; label?: string; disabled?: boolean }) {
  return (
    <select aria-label={label} value={value} disabled={disabled} onChange={(event) => onChange(event.currentTarget.value)}>
      {options.map(([key, text]) => (
        <option key={key} value={key}>
          {text}
        </option>
      ))}
    </select>
  );
}

/**
 * A native dialog: focus moves in, Esc closes, focus returns. It is open as soon as it is drawn, not
 * a frame later: keys pressed in between would be the page's.
 */
export function Dialog({ title, onClose, children, footer, wide, className = "" }: { title: ComponentChildren; onClose: () => void; children: ComponentChildren; footer?: ComponentChildren; wide?: boolean; className?: string }) {
  const ref = useRef<HTMLDialogElement>(null);
  useLayoutEffect(() => {
    const dialog = ref.current!;
    const before = document.activeElement as HTMLElement | null;
    dialog.showModal();
    return () => {
      dialog.close();
      if (before?.isConnected) before.focus();
    };
  }, []);
  return (
    <dialog
      ref={ref}
      class={`${wide ? "wide" : ""} ${className}`}
      aria-label={typeof title === "string" ? title : undefined}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === ref.current) onClose();
      }}
    >
      <header>
        <h2 class="cut">{title}</h2>
        <span class="push" />
        <Button kind="quiet" icon="close" label="Close" onClick={onClose} />
      </header>
      <div class="body" tabIndex={0}>
        {children}
      </div>
      {footer && <footer>{footer}</footer>}
    </dialog>
  );
}

/** A button with a panel below it; closes on Esc and on a press elsewhere, from the moment it is seen. */
export function Menu({ label, icon, children, text }: { label: string; icon: string; children: ComponentChildren; text?: string }) {
  const [open, setOpen] = useState(false);
  const ref = useRef<HTMLDivElement>(null);
  useLayoutEffect(() => {
    if (!open) return;
    const away = (event: Event) => {
      if (!ref.current?.contains(event.target as Node)) setOpen(false);
    };
    const key = (event: KeyboardEvent) => {
      if (event.key !== "Escape") return;
      setOpen(false);
      ref.current?.querySelector("button")?.focus();
      event.stopPropagation();
    };
    document.addEventListener("pointerdown", away);
    document.addEventListener("keydown", key, true);
    return () => {
      document.removeEventListener("pointerdown", away);
      document.removeEventListener("keydown", key, true);
    };
  }, [open]);
  return (
    <div class="menu" ref={ref}>
      {text ? (
        <Button small icon={icon} expanded={open} onClick={() => setOpen(!open)}>
          {text}
        </Button>
      ) : (
        <Button small icon={icon} label={label} expanded={open} onClick={() => setOpen(!open)} />
      )}
      {open && <div>{children}</div>}
    </div>
  );
}
