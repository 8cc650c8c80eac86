/**
 * F and G of the source [9000–9400, 9310, 9320]: the cost of a member, and the load that a router reports for all its
 * members. Both are expressions; the built-in ones have names.
 */
import { type Expression, parseExpression } from '../policy/expression.js';
import type { SubnetState } from './messages.js';

/** What an expression knows of a member. */
const OF_MEMBER = ['load', 'distance', 'servers', 'metrics.'];
/** What it knows besides. */
const OF_TIME = ['hour', 'weekday'];

export const COSTS: Readonly<Record<string, string>> = {
  load: 'load',
  distance: 'distance / 100',
  weighted: '0.7 * load + 0.3 * distance / 100',
  timeOfDay: 'if(hour >= 8 && hour < 20, load, load + distance / 100)',
};
export const AGGREGATES: Readonly<Record<string, string>> = {
  mean: 'sum(load * servers) / max(1, sum(servers))',
  least: 'least(load)',
  most: 'most(load)',
};

/** @throws ExpressionError */
export const parseCost = (text: string): Expression =>
  parseExpression(COSTS[text] ?? text, [...OF_MEMBER, ...OF_TIME]);
/** @throws ExpressionError */
export const parseAggregate = (text: string): Expression =>
  parseExpression(AGGREGATES[text] ?? text, [...OF_MEMBER, 'cost', ...OF_TIME], true);

/** The values of a member's variables. @param distance ms */
export function scopeOf(
  state: SubnetState,
  distance: number,
  at: Date,
  cost = 0,
): (name: string) => number | undefined {
  return (name) => {
    if (name === 'load') return state.load;
    if (name === 'distance') return distance;
    if (name === 'servers') return state.servers;
    if (name === 'cost') return cost;
    if (name === 'hour') return at.getHours() + at.getMinutes() / 60;
    if (name === 'weekday') return at.getDay();
    return state.metrics?.[name.slice('metrics.'.length)];
  };
}

/** Weights are multiples of this, so that small changes of cost move no slots. */
const STEP = 1 / 32;
/** The least weight of an available member: it gets rare connections, and so its cost stays known. */
const LEAST = 1 / 64;

/**
 * The share of new connections for a cost: falls with the distance to the least cost, so that members that report at
 * the same time do not all lose or get everything (a herd). The same costs give the same weights at every router.
 */
export function weightOf(cost: number, leastCost: number): number {
  const good = Math.max(0, 1 - (cost - leastCost)) ** 2;
  return Math.max(LEAST, Math.round(good / STEP) * STEP);
}

/** A cost so many times the middle one is out of line. */
const OUTLIER = 1.5;
/** How steeply weights fall beyond it: four times the middle cost, and all that is left is rare connections. */
const STEEPNESS = 8;
/** The least weight there: of a hundred clients not one is to meet a slow server, which is still asked now and then. */
const LEAST_OUT_OF_LINE = 1 / 256;

/**
 * The share of new connections for a cost among these: the same for all, except for a member whose cost is out of line. What
 * makes all costs swing alike, such as a load that all have, moves no connections.
 */
export function weightAmong(costs: readonly number[]): (cost: number) => number {
  const sorted = [...costs].sort((a, b) => a - b);
  const limit = OUTLIER * sorted[(sorted.length - 1) >> 1];
  return (cost) =>
    cost <= limit || limit === 0
      ? 1
      : Math.max(LEAST_OUT_OF_LINE, Math.round((limit / cost) ** STEEPNESS / STEP) * STEP);
}
