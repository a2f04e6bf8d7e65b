import { route, href } from "../state/router";
import { Card } from "../ui/basics";

export default function Missing() {
  return (
    <>
      <div class="page-head"><h1 tabIndex={-1}>Page not found</h1></div>
      <Card>
        <div class="body stack">
          <p>There is no page <code>{route.value.arg || location.pathname}</code>. The pages are:</p>
          <ul class="row wrap">
            {[["", "Overview"], ["models", "Models"], ["activity", "Activity"], ["logs", "Logs"], ["performance", "Performance"], ["timeline", "Timeline"], ["playground", "Playground"], ["hardware", "Hardware"], ["settings", "Settings"]].map(([path, name]) => <li key={path}><a class="button" href={href(path!)}>{name}</a></li>)}
          </ul>
        </div>
      </Card>
    </>
  );
}
