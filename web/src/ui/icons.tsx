// The stroke icons in use, 16 × 16, and no others.
const PATHS: Record<string, string> = {
  overview: "M2 8.5 8 3l6 5.5M3.5 7.5V13h9V7.5",
  models: "M8 1.5 14 5 8 8.500 2 5ZM2 8l6 3.500L14 8M2 11l6 3.500L14 11",
  activity: "M1.500 8.500h3l2-5 3 9 2-4h3",
  logs: "M2.500 3h11M2.500 6.300h8M2.500 9.700h11M2.500 13h6",
  performance: "M2 13.500V2.500M2 13.500h12M5 10.500l3-4 2 2 3.500-5",
  timeline: "M2 4h6M5 8h7M3 12h4M10 12h4",
  playground: "M2 3h12v8H7l-3.500 2.500V11H2Z",
  hardware: "M4 4h8v8H4ZM6.500 1.500V4M9.500 1.500V4M6.500 12v2.500M9.500 12v2.500M1.500 6.500H4M1.500 9.500H4M12 6.500h2.500M12 9.500h2.500",
  settings: "M2 4.500h7M12 4.500h2M2 11.500h2M7 11.500h7M9 3v3M4.500 10v3",
  menu: "M2 4h12M2 8h12M2 12h12",
  close: "M3.500 3.500l9 9M12.500 3.500l-9 9",
  theme: "M8 2a6 6 0 1 0 0 12ZM8 2a6 6 0 0 1 0 12",
  play: "M4.500 3v10l8-5Z",
  power: "M8 1.500v6M4.500 4a5.500 5.500 0 1 0 7 0",
  open: "M9 2.500h4.500V7M13.500 2.500 7.500 8.500M11.500 9.500v4h-9v-9h4",
  pin: "M5.500 2h5l-1 4 2.500 3H4l2.500-3ZM8 9v5",
  copy: "M5.500 5.500h8v8h-8ZM10.500 5.500v-3h-8v8h3",
  refresh: "M13 5.500A5.500 5.500 0 1 0 13.500 9M13.500 2v3.500H10",
  down: "M3.500 6 8 10.500 12.500 6",
  up: "M3.500 10 8 5.500l4.500 4.500",
  right: "M6 3.500 10.500 8 6 12.500",
  left: "M10 3.500 5.500 8l4.500 4.500",
  filter: "M2 3h12L9.500 8.500V13l-3-1.500v-3Z",
  columns: "M2 3h12v10H2ZM6 3v10M10 3v10",
  download: "M8 2v8M4.500 7 8 10.500 11.500 7M2.500 13.500h11",
  send: "M2 8 14 2.500 10 14 7.500 9Z",
  stop: "M4 4h8v8H4Z",
  image: "M2 3h12v10H2ZM2.500 11.500l3.500-4 3 3 2-2 3 3M10.500 6h.01",
  edit: "M3 13l.700-3L11 2.700l2.300 2.300L6 12.300Z",
  trash: "M2.500 4h11M6 4V2.500h4V4M4 4l.700 9.500h6.600L12 4",
  plus: "M8 3v10M3 8h10",
  search: "M7 2.500a4.500 4.500 0 1 0 0 9 4.500 4.500 0 0 0 0-9ZM10.500 10.500l3 3",
  warn: "M8 2 14.500 13.500h-13ZM8 6.500v3.500M8 12h.01",
  pause: "M5 3v10M11 3v10",
  wrap: "M2 3.500h12M2 8h9.500a2.300 2.300 0 0 1 0 4.600H8M9.800 10.800 8 12.600l1.800 1.800M2 12.600h3",
  keyboard: "M1.500 4h13v8h-13ZM4 6.700h.01M7 6.700h.01M10 6.700h.01M12 9.500h.01M5 9.500h5",
  mic: "M8 1.500a2 2 0 0 0-2 2v4a2 2 0 0 0 4 0v-4a2 2 0 0 0-2-2ZM3.500 7.500a4.500 4.500 0 0 0 9 0M8 12v2.500",
};

export function Icon({ name }: { name: string }) {
  return (
    <svg class="icon" viewBox="0 0 16 16" aria-hidden="true">
      <path d={PATHS[name] ?? ""} />
    </svg>
  );
}
