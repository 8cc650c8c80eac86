import { describe } from 'vitest';
import { Gateway6 } from '../support/gateway6.js';
import { ipv6Table } from './ipv6-table.js';

describe('configuration A: a race over IPv6', () => ipv6Table((race) => new Gateway6(race)));
