// The word that allows to act: it comes behind the # of the link, and stays in this page's storage.

const KEPT = "holdfast-console-key";

export function takeKey() {
  if (location.hash.length > 1) localStorage.setItem(KEPT, location.hash.slice(1));
  if (location.hash || location.search) history.replaceState(null, "", "/");
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json", "X-Console-Key": localStorage.getItem(KEPT) ?? "" };
  const answer = await fetch(path, { method: "POST", headers, body: JSON.stringify(body) });
  return answer.ok ? "" : (await answer.text()).trim();
}
