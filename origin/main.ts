export { main } from './race/program.js';
