/**
 * Expressions: the operator's own functions in a role file, without loops, names of its own or side effects. They are
 * parsed once and evaluated as a tree.
 *
 *   0.7 * load + 0.3 * distance / 100
 *   if(hour >= 8 && hour < 20, load, load + 0.5)
 *   sum(load * servers) / sum(servers)          over all members, where the place of the expression allows that
 *
 * Numbers, variables, + - * / % and comparisons, && || !, parentheses; min(a, b…), max(a, b…), abs, floor, ceil, sqrt,
 * exp, log, pow(a, b), clamp(x, low, high), if(condition, a, b). A comparison is 1 or 0; everything but 0 is true.
 */
export type Scope = (name: string) => number | undefined;

/** A parsed expression. */
export interface Expression {
  readonly text: string;
  /** The variables that it names. */
  readonly names: readonly string[];
  /**
   * @param scope the value of each name
   * @param members for aggregates: one scope per member
   * @returns what may be not finite: NaN for a name without a value
   */
  evaluate(scope: Scope, members?: readonly Scope[]): number;
}

export class ExpressionError extends Error {}

/** Longer or deeper ones are refused: an expression is read by people. */
const MOST_CHARACTERS = 1000;
const MOST_DEPTH = 50;

type Node = (scope: Scope, members: readonly Scope[]) => number;

const FUNCTIONS: Record<string, { least: number; most: number; of: (...x: number[]) => number }> = {
  min: { least: 1, most: 32, of: Math.min },
  max: { least: 1, most: 32, of: Math.max },
  abs: { least: 1, most: 1, of: Math.abs },
  floor: { least: 1, most: 1, of: Math.floor },
  ceil: { least: 1, most: 1, of: Math.ceil },
  sqrt: { least: 1, most: 1, of: Math.sqrt },
  exp: { least: 1, most: 1, of: Math.exp },
  log: { least: 1, most: 1, of: Math.log },
  pow: { least: 2, most: 2, of: (a, b) => a ** b },
  clamp: { least: 3, most: 3, of: (x, low, high) => Math.min(high, Math.max(low, x)) },
};

const AGGREGATES: Record<string, (all: readonly number[]) => number> = {
  sum: (all) => all.reduce((a, b) => a + b, 0),
  mean: (all) => all.reduce((a, b) => a + b, 0) / all.length,
  least: (all) => Math.min(...all),
  most: (all) => Math.max(...all),
  count: (all) => all.filter((x) => x !== 0).length,
};

const BINARY: readonly Record<string, (a: number, b: number) => number>[] = [
  { '||': (a, b) => Number(a !== 0 || b !== 0) },
  { '&&': (a, b) => Number(a !== 0 && b !== 0) },
  {
    '<=': (a, b) => Number(a <= b),
    '>=': (a, b) => Number(a >= b),
    '==': (a, b) => Number(a === b),
    '!=': (a, b) => Number(a !== b),
    '<': (a, b) => Number(a < b),
    '>': (a, b) => Number(a > b),
  },
  { '+': (a, b) => a + b, '-': (a, b) => a - b },
  { '*': (a, b) => a * b, '/': (a, b) => a / b, '%': (a, b) => a % b },
];

const TOKEN = /\s*(?:(\d+(?:\.\d+)?|\.\d+)|([A-Za-z_][\w.]*)|(\|\||&&|<=|>=|==|!=|[-+*/%<>!(),]))/y;

/**
 * @param known the variables that there are; a name that ends in a dot stands for all that begin so
 * @param aggregates whether functions over all members are allowed
 * @throws ExpressionError with what is wrong, and where
 */
export function parseExpression(text: string, known: readonly string[], aggregates = false): Expression {
  if (text.length > MOST_CHARACTERS) throw new ExpressionError(`longer than ${MOST_CHARACTERS} characters`);
  const parser = new Parser(tokensOf(text), known, aggregates);
  const node = parser.whole();
  return { text, names: [...parser.names], evaluate: (scope, members = []) => node(scope, members) };
}

interface Token {
  kind: 'number' | 'name' | 'sign' | 'end';
  text: string;
  at: number;
}

function tokensOf(text: string): Token[] {
  const tokens: Token[] = [];
  TOKEN.lastIndex = 0;
  const end = text.trimEnd().length;
  for (let at = 0; at < end; at = TOKEN.lastIndex) {
    TOKEN.lastIndex = at;
    const m = TOKEN.exec(text);
    if (m === null) throw new ExpressionError(`cannot be read from column ${at + 1} on`);
    const kind = m[1] !== undefined ? 'number' : m[2] !== undefined ? 'name' : 'sign';
    tokens.push({ kind, text: m[1] ?? m[2] ?? m[3], at: TOKEN.lastIndex - (m[1] ?? m[2] ?? m[3]).length });
  }
  return [...tokens, { kind: 'end', text: '', at: end }];
}

class Parser {
  readonly names = new Set<string>();
  #next = 0;
  #depth = 0;

  constructor(
    readonly tokens: readonly Token[],
    readonly known: readonly string[],
    readonly aggregates: boolean,
  ) {}

  whole(): Node {
    const node = this.#binary(0);
    if (this.#token.kind !== 'end') throw this.#error('is not expected here');
    return node;
  }

  get #token(): Token {
    return this.tokens[this.#next];
  }

  #error(what: string): ExpressionError {
    const { text, at, kind } = this.#token;
    return new ExpressionError(`column ${at + 1}: ${kind === 'end' ? 'the end' : `'${text}'`} ${what}`);
  }

  #take(sign: string): boolean {
    const is = this.#token.kind === 'sign' && this.#token.text === sign;
    if (is) this.#next++;
    return is;
  }

  #expect(sign: string): void {
    if (!this.#take(sign)) throw this.#error(`where '${sign}' is expected`);
  }

  #binary(level: number): Node {
    if (level === BINARY.length) return this.#unary();
    let left = this.#binary(level + 1);
    for (;;) {
      const of = this.#token.kind === 'sign' ? BINARY[level][this.#token.text] : undefined;
      if (of === undefined) return left;
      this.#next++;
      const [a, b] = [left, this.#binary(level + 1)];
      left = (s, m) => of(a(s, m), b(s, m));
    }
  }

  #unary(): Node {
    if (++this.#depth > MOST_DEPTH) throw this.#error('is nested too deeply');
    const node = this.#signed();
    this.#depth--;
    return node;
  }

  #signed(): Node {
    if (this.#take('-')) {
      const of = this.#unary();
      return (s, m) => -of(s, m);
    }
    if (this.#take('!')) {
      const of = this.#unary();
      return (s, m) => Number(of(s, m) === 0);
    }
    if (this.#take('(')) {
      const inner = this.#binary(0);
      this.#expect(')');
      return inner;
    }
    const { kind, text } = this.#token;
    if (kind === 'number') {
      this.#next++;
      const value = Number(text);
      return () => value;
    }
    if (kind !== 'name') throw this.#error('is not expected here');
    const isCall = this.tokens[this.#next + 1].text === '(';
    return isCall ? this.#call(text) : this.#variable(text);
  }

  #variable(name: string): Node {
    if (!this.known.some((k) => (k.endsWith('.') ? name.startsWith(k) : name === k)))
      throw this.#error(`is no variable (${this.known.join(', ')})`);
    this.#next++;
    this.names.add(name);
    return (scope) => scope(name) ?? Number.NaN;
  }

  #call(name: string): Node {
    const isIf = name === 'if';
    const f = Object.hasOwn(FUNCTIONS, name) ? FUNCTIONS[name] : undefined;
    const over = this.aggregates && Object.hasOwn(AGGREGATES, name) ? AGGREGATES[name] : undefined;
    if (!isIf && f === undefined && over === undefined) throw this.#error('is no function');
    this.#next += 2;
    const given: Node[] = [];
    do given.push(this.#binary(0));
    while (this.#take(','));
    this.#expect(')');
    const [least, most] = isIf ? [3, 3] : f === undefined ? [1, 1] : [f.least, f.most];
    if (given.length < least || given.length > most)
      throw new ExpressionError(
        `${name} takes ${least === most ? least : `${least} to ${most}`} values, not ${given.length}`,
      );
    if (isIf) return (s, m) => (given[0](s, m) !== 0 ? given[1](s, m) : given[2](s, m));
    if (f !== undefined) return (s, m) => f.of(...given.map((g) => g(s, m)));
    return (_, members) => over!(members.map((one) => given[0](one, [])));
  }
}
