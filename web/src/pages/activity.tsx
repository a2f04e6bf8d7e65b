import { ActivityPanel } from "../ui/activitypanel";

export default function ActivityPage() {
  return (
    <>
      <div class="page-head"><h1 tabIndex={-1}>Activity</h1></div>
      <ActivityPanel model={null} />
    </>
  );
}
