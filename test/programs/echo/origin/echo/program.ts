export { program } from '../../src/echo/program.js';
