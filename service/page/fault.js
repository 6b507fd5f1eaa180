// What went wrong, in words, from the server's problem documents (RFC 9457).

/** `status` is 0 where no answer came. `errors` name the fields at fault: [{field, message, mend}]. */
export class Fault extends Error {
  constructor(title, { detail = "", status = 0, errors = [], retryAfter = null } = {}) {
    super(detail || title);
    Object.assign(this, { title, detail, status, errors, retryAfter });
  }
}

export const noAnswer = () =>
  new Fault("The server does not answer", { detail: "Is it still running, and is this machine connected to it?" });

/** The fault that an answer with an error status tells of. */
export async function faultOf(response) {
  const problem = await response.json().catch(() => ({}));
  const wait = Number(response.headers.get("Retry-After"));
  const retryAfter = wait > 0 ? wait : null;
  const again = response.status === 429 && retryAfter !== null ? ` Try again in ${retryAfter} s.` : "";
  return new Fault(problem.title || `The server answered ${response.status}`, {
    detail: (problem.detail || "") + again,
    status: response.status,
    errors: problem.errors ?? [],
    retryAfter,
  });
}
