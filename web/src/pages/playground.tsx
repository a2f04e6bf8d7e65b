export default function Playground() {
  return <div class="page-head"><h1 tabIndex={-1}>Playground</h1></div>;
}
