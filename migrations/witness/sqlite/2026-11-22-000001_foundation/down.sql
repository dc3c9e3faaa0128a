DROP TABLE refused;
DROP TABLE cosigned;
