/** The levels of service-level routing: each chooses among members of lower levels. */
export const LEVELS = ['server', 'site', 'system', 'network'] as const;
export type Level = (typeof LEVELS)[number];
/** The levels at which a service-level router stands. */
export const ROUTER_LEVELS = ['site', 'system', 'network'] as const;
export type RouterLevel = (typeof ROUTER_LEVELS)[number];

export const isAbove = (upper: Level, lower: Level): boolean => LEVELS.indexOf(upper) > LEVELS.indexOf(lower);
