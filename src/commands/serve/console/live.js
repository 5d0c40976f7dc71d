// Keeps the page as it is now: asks for the same page again and puts sections that changed in the
// place of the old ones. Without this script the page is complete, as of when it was asked for.
"use strict";
(() => {
  const every = 5000;
  const live = document.getElementById("live");
  let failed = 0;

  const copyable = (within) => {
    if (!navigator.clipboard) return;
    for (const block of within.querySelectorAll(".command")) {
      if (block.querySelector("button")) continue;
      const command = block.querySelector("code").textContent;
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = "Copy";
      button.setAttribute("aria-label", "Copy the command " + command);
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(command);
        button.textContent = "Copied";
      });
      block.prepend(button);
    }
  };

  // Ages change with every minute and are not worth a word to a screen reader.
  const gist = (section) => {
    const copy = section.cloneNode(true);
    for (const part of copy.querySelectorAll(".age, .command button")) part.remove();
    return copy.textContent;
  };

  // What a person typed or chose is not what the page came with: it is never taken away.
  const touched = (here, fresh) => Array.from(here.querySelectorAll("input, select, textarea")).some((old) => {
    if (old.type === "hidden") return false;
    const now = old.id && fresh.querySelector("#" + CSS.escape(old.id));
    if (!now) return old.type === "checkbox" ? old.checked : old.tagName !== "SELECT" && old.value !== "";
    return old.type === "checkbox" ? old.checked !== now.checked : old.value !== now.value;
  });

  // Every form comes with a seal of its own; an older one is as good.
  const drawn = (section) => {
    const copy = section.cloneNode(true);
    for (const seal of copy.querySelectorAll("input[type=hidden]")) seal.removeAttribute("value");
    for (const button of copy.querySelectorAll(".command button")) button.remove();
    return copy.innerHTML;
  };

  const busy = (section) => {
    if (section.contains(document.activeElement)) return true;
    const selection = document.getSelection();
    return !selection.isCollapsed && selection.containsNode(section, true);
  };

  const say = (text) => {
    live.hidden = false;
    if (live.textContent !== text) live.textContent = text;
  };

  const take = (main) => {
    const here = document.getElementById("main");
    const ids = (root) => Array.from(root.querySelectorAll("section"), (one) => one.id).join(" ");
    if (ids(here) !== ids(main)) {
      if (busy(here) || touched(here, main)) return false;
      here.replaceChildren(...main.childNodes);
      copyable(here);
      return true;
    }
    let changed = false;
    for (const fresh of Array.from(main.querySelectorAll("section"))) {
      const old = document.getElementById(fresh.id);
      if (busy(old) || touched(old, fresh) || drawn(old) === drawn(fresh)) continue;
      changed = changed || gist(old) !== gist(fresh);
      old.replaceWith(fresh);
      copyable(fresh);
    }
    return changed;
  };

  const ask = async () => {
    if (document.hidden) return;
    try {
      const answer = await fetch(location.pathname + location.search, { cache: "no-store" });
      const text = await answer.text();
      const page = new DOMParser().parseFromString(text, "text/html");
      const main = page.getElementById("main");
      if (!main) throw new Error("no page");
      const changed = take(main);
      if (changed || failed) say("The page was brought up to date.");
      failed = 0;
    } catch {
      failed += 1;
      if (failed === 2) say("The service does not answer. What is shown is as it was.");
    }
  };

  copyable(document);
  const turn = async () => {
    await ask();
    setTimeout(turn, every);
  };
  setTimeout(turn, every);
})();
