// The page's elements, by their ids; text goes in as text, never as HTML.

export const $ = (id) => document.getElementById(id);

export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== ""));
  return element;
}

export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export const clock = (at) => new Date(at * 1000).toLocaleTimeString("en-GB", { hour12: false });
